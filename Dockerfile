# NVIDIA's PyTorch image with this program: docker build -t danube:0.1.0 .
# The image brings Python, torch, Transformer Engine, CUDA, cuDNN and NCCL that fit one another, and keeps them: only what
# it lacks is installed, at the versions of constraints.txt.
ARG BASE=nvcr.io/nvidia/pytorch:26.10-py3
FROM ${BASE}

WORKDIR /opt/danube
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY custom_modules ./custom_modules
COPY data_prep ./data_prep
COPY nemo_configs ./nemo_configs
COPY slurm ./slurm
COPY kubernetes ./kubernetes

# The image's own PIP_CONSTRAINT holds beside it.
RUN python3 -m custom_modules.doctor.as_installed constraints.txt > /tmp/constraints.txt \
    && pip install --no-cache-dir --constraint /tmp/constraints.txt '.[data]' \
    && rm /tmp/constraints.txt

CMD ["danube", "--help"]
