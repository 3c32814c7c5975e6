"""What the tests of `make test-gpu` and `make gpu-day` run on: a GPU, or a CPU that rehearses them."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace

import torch

from tests.fake_transformer_engine.start import FOLDER, packages
from tests.support.commands import environment
from tests.support.tiny import TINY

REHEARSE = "DANUBE_REHEARSE_GPU_TESTS"
HAS_GPU = torch.cuda.is_available()
NULL_GPU = "NULL_GPU_IS_HERE" in os.environ
"""Whether it is one that computes nothing: tests/null_gpu."""
BF16 = ["trainer.precision=bf16-mixed"]


@dataclass(frozen=True)
class Machine:
    """What the tests run on, and how much of them."""

    accelerator: str
    gpus: int
    program: tuple[str, ...]
    """`danube`."""
    environment: dict[str, str]
    shape: tuple[str, ...]
    """Overrides that make the rehearsal's model and curriculum small."""
    windows: tuple[int, ...]
    """Sliding windows that logits are compared with."""
    steps: int
    """Of a comparison of losses."""
    batch: int
    """Its tokens a step."""
    full_size: tuple[str, ...]
    """Arguments of `danube bench` for a recipe on one device, with a batch that takes seconds."""
    variants: tuple[str, ...]
    """For it: one without Transformer Engine's FP8, and one with."""

    @property
    def here(self) -> str:
        return f"trainer.accelerator={self.accelerator}"

    @property
    def comparison(self) -> list[str]:
        """Overrides of the rehearsal for runs whose losses are compared: one stage, at twice its window."""
        return [
            *self.shape,
            f"curriculum.stages.stage1={{tokens: {self.steps * self.batch}, encoder_seq_length: 512}}",
            *[f"curriculum.stages.stage{n}=null" for n in (2, 3, 4)],
            f"model.global_batch_tokens={self.batch}",
            "model.micro_batch_size=4",
            "model.optim.sched.warmup_tokens=9216",
            f"trainer.log_every_n_tokens={self.batch}",
            "trainer.limit_val_tokens=16384",
            "trainer.evaluate=null",
            "trainer.devices=1",
            *BF16,
        ]


A_GPU = Machine(
    accelerator="gpu",
    gpus=torch.cuda.device_count(),
    program=(sys.executable, "-m", "custom_modules.cli"),
    environment=environment(),
    shape=(),
    windows=(16, 256),
    steps=200,
    batch=8_192,
    full_size=(
        *("--config-name", "danube_1_8b", "--stages", "stage1,stage4"),
        *("trainer.devices=1", "model.global_batch_tokens=131072"),
    ),
    variants=("bf16: model.fp8=null", "FP8: model.fp8=hybrid"),
)
ON_GPU = replace(A_GPU, steps=12, batch=4_096) if NULL_GPU else A_GPU
ON_CPU = Machine(
    accelerator="cpu",
    gpus=0,
    program=(sys.executable, str(FOLDER / "danube.py")),
    environment={**packages(), "MASTER_PORTS": "0"},
    shape=tuple(TINY),
    windows=(16,),
    steps=8,
    batch=2_048,
    full_size=("--config-name", "danube_rehearsal", "--stages", "stage1,stage2", *TINY, "trainer.devices=1"),
    variants=("bf16: trainer.precision=bf16-mixed",),
)
