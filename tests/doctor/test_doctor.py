"""What is there is found, what is missing or wrong is named with its remedy, and scripts can tell by the exit code."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path

import pytest
import torch

from custom_modules.version import VERSION
from tests.support.machine import Machine
from tests.support.not_installed import make_python
from tests.support.small_disk import needs_small_disk, with_mounts
from tests.support.tiny import TINY

ANY = ["--config-name", "danube_rehearsal", *TINY, "trainer.devices=1", "trainer.accelerator=auto"]
CPU = [*ANY, "trainer.accelerator=cpu"]
FP8 = ["model.fp8=hybrid", "trainer.precision=bf16-mixed"]
REPOSITORY = Path(__file__).resolve().parents[2]
CHECKS = [
    *["driver", "GPUs", "torch", "CUDA", "cuDNN", "NCCL", "Python", "packages", "program", "megatron-core"],
    *["Transformer Engine", "Apex", "DALI", "lm-eval", "shared memory", "disk of the run", "disk of the data", "clock"],
    *["limits", "clock kept", "Slurm"],
]
MEGATRON = f"megatron-core=={metadata.version('megatron-core')}"
TRANSFORMER_ENGINE = ">=2.9,<2.12" if sys.version_info < (3, 12) else ">=2.14,<2.21"
"""What fits it."""
without_gpu = pytest.mark.skipif(torch.version.cuda is not None, reason="torch is built for GPUs")


@pytest.mark.slow
def test_what_this_machine_has(machine: Machine) -> None:
    seen = machine.examine(*CPU)
    assert (seen.code, seen.errors, seen.report["ok"]) == (0, "", True)
    assert (seen.report["accelerator"], seen.report["run"]) == ("cpu", "a CPU run of danube_rehearsal")
    assert [check for check in seen.findings if check != "pyxis"] == CHECKS
    assert seen.findings["torch"]["found"] == torch.__version__
    assert seen.findings["megatron-core"]["found"] == f"{metadata.version('megatron-core')}, dataset helpers load"
    assert re.fullmatch(rf"{VERSION} in {REPOSITORY}, \d+ modules import", seen.findings["program"]["found"])
    assert f" free in {machine.folder}, " in seen.findings["disk of the run"]["found"]
    for finding in seen.findings.values():
        assert set(finding) == {"check", "found", "state", "remedy", "not_needed"}
        assert finding["found"]
        if finding["state"] == "ok":
            assert finding["remedy"] is finding["not_needed"] is None
        else:
            assert finding["state"] in ("missing", "wrong")
            assert finding["remedy"] and finding["not_needed"]


@pytest.mark.slow
@without_gpu
def test_what_a_gpu_run_would_need(machine: Machine) -> None:
    refused = machine.run("--gpu")
    assert refused.returncode == 2
    lacking = ["driver", "GPUs", "CUDA", "cuDNN", "NCCL", "Transformer Engine"]
    assert refused.stderr.startswith(f"danube: doctor: a GPU run lacks {', '.join(lacking)}")
    assert refused.stderr.count("\n") == 1
    table, _, remedies = refused.stdout.partition("\nTo do\n")
    assert table.startswith("For a GPU run\n  driver ")
    assert [line.split("  ")[1] for line in remedies.splitlines()[: len(lacking)]] == lacking
    assert "pip install --no-build-isolation 'transformer-engine[" in remedies


@without_gpu
@pytest.mark.slow
def test_programs_and_packages_that_are_wrong(machine: Machine) -> None:
    """All at once: nothing hangs or brings the command down, and each is named."""
    machine.program("nvidia-smi", "echo $$ > hanging.pid; sleep 1000; sleep 1000")
    machine.program("timedatectl", "echo no")
    machine.program("sinfo", "echo 'slurm_load_partitions: Unable to contact slurm controller' >&2; exit 1")
    for name in ("sbatch", "srun", "scontrol", "squeue"):
        machine.program(name, "exit 1")
    poisoned = {"apex/__init__.py": "raise SystemExit('imported')", "apex/lib/libapex.py": ""}
    machine.package("apex", "0.9.10.dev0", poisoned, "Pyramid toolkit to add Velruse")
    machine.package("transformer_engine", "2.13.0", {"transformer_engine/__init__.py": ""})
    seen = machine.examine("--gpu", "--slurm", "--timeout", "3")
    assert seen.code == 2
    assert seen.report["run"] == "a GPU run under Slurm"
    expected = {
        "GPUs": "nvidia-smi: no answer in 3 s",
        "Apex": 'not NVIDIA\'s: apex 0.9.10.dev0, "Pyramid toolkit to add Velruse"',
        "Transformer Engine": f"2.13.0 does not fit {MEGATRON.replace('==', ' ')}, which takes {TRANSFORMER_ENGINE}",
        "clock kept": "not synchronised",
        "Slurm": "sinfo: slurm_load_partitions: Unable to contact slurm controller (exit code 1)",
    }
    for check, found in expected.items():
        finding = seen.findings[check]
        assert (finding["found"], finding["state"], finding["not_needed"]) == (found, "wrong", None)
        assert check in seen.errors
    assert "pip uninstall apex" in seen.findings["Apex"]["remedy"]
    assert f"]{TRANSFORMER_ENGINE}'" in seen.findings["Transformer Engine"]["remedy"]
    hanging = int((machine.folder / "hanging.pid").read_text())
    assert not Path(f"/proc/{hanging}").exists()


TORCH_ON_TWO_A100S = """
from types import SimpleNamespace
__version__ = "2.13.0"
version = SimpleNamespace(cuda="13.0")
backends = SimpleNamespace(cudnn=SimpleNamespace(version=lambda: 91002))
distributed = SimpleNamespace(is_nccl_available=lambda: True)
cuda = SimpleNamespace(
    nccl=SimpleNamespace(version=lambda: (2, 27, 5)),
    is_available=lambda: True,
    device_count=lambda: 2,
    get_device_name=lambda index: "NVIDIA A100-SXM4-80GB",
    get_device_capability=lambda index: (8, 0),
)
def ones(size, device):
    return SimpleNamespace(add_=lambda value: SimpleNamespace(item=lambda: 2.0))
"""


@pytest.mark.slow
def test_a_node_of_gpus(machine: Machine) -> None:
    """The node is what its programs and packages would describe; this machine has none."""
    machine.program("nvidia-smi", "yes '580.95.05, NVIDIA A100-SXM4-80GB' | head -n 2")
    machine.program("timedatectl", "exit 1")
    machine.program("chronyc", "echo 'Leap status     : Normal'")
    machine.program("srun", "echo '      --container-image=[USER@][REGISTRY#]IMAGE[:TAG]|PATH'")
    machine.program("sinfo", "echo main*; echo preemptible")
    for name in ("sbatch", "scontrol", "squeue"):
        machine.program(name, "exit 0")
    machine.package("torch", "2.13.0", {"torch/__init__.py": TORCH_ON_TWO_A100S})
    parts = ["apex/optimizers/__init__.py", "apex/multi_tensor_apply/__init__.py"]
    extensions = ["amp_C.py", "fused_weight_gradient_mlp_cuda.py"]
    machine.package("apex", "0.1", dict.fromkeys(["apex/__init__.py", *parts, *extensions], ""))
    crash = "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)"
    version = TRANSFORMER_ENGINE.partition(",")[0].removeprefix(">=") + ".0"
    machine.package(
        "transformer_engine", version, {"transformer_engine/__init__.py": "", "transformer_engine/pytorch.py": crash}
    )
    seen = machine.examine("--slurm", *ANY)
    assert seen.report["run"] == "a GPU run of danube_rehearsal under Slurm"
    expected = {
        "driver": "580.95.05",
        "GPUs": "2 x NVIDIA A100-SXM4-80GB",
        "torch": "2.13.0",
        "CUDA": "13.0, torch computes on 2 GPU(s)",
        "cuDNN": "9.10.2",
        "NCCL": "2.27.5",
        "Apex": "NVIDIA's 0.1, with amp_C, fused_weight_gradient_mlp_cuda",
        "Slurm": "answers, partitions main*, preemptible",
        "pyxis": "srun has --container-image",
        "clock kept": "synchronised by NTP",
    }
    assert {check: seen.findings[check]["found"] for check in expected} == expected
    assert {seen.findings[check]["state"] for check in expected} == {"ok"}
    engine = seen.findings["Transformer Engine"]
    assert (engine["found"], engine["not_needed"]) == (f"{version}: ended by SIGSEGV", "with model.fp8=null")
    assert seen.errors.startswith("danube: doctor: a GPU run of danube_rehearsal under Slurm lacks program; ")

    refused = machine.examine(*ANY, *FP8)
    assert (refused.code, refused.findings["CUDA"]["state"]) == (2, "wrong")
    assert refused.findings["CUDA"]["found"].endswith("no FP8 on NVIDIA A100-SXM4-80GB (8.0)")
    assert refused.errors.startswith(
        "danube: doctor: a GPU run of danube_rehearsal lacks CUDA, program, Transformer Engine;"
    )
    many = machine.examine(*ANY, "trainer.devices=4")
    assert many.findings["CUDA"]["found"].endswith("trainer.devices=4")
    assert many.findings["CUDA"]["remedy"].startswith("set trainer.devices=2")


def test_a_python_with_nothing_installed(machine: Machine) -> None:
    """The doctor itself needs nothing."""
    venv = machine.folder / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    command = [str(venv / "bin" / "python"), "-m", "custom_modules.cli", "doctor"]
    done = subprocess.run(command, env=machine.environment, cwd=machine.folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("danube: doctor: a CPU run lacks torch, packages, megatron-core; ")
    assert f"'hydra-core=={metadata.version('hydra-core')}'" in done.stdout
    assert f"pip install '{MEGATRON}'" in done.stdout


@pytest.mark.slow
def test_a_module_that_a_conversion_needs(machine: Machine) -> None:
    """The package is there by name and version."""
    machine.package("safetensors", "9.0", {"safetensors/__init__.py": ""})
    python = make_python(machine.folder / "venv") / "python3"
    command = [str(python), "-m", "custom_modules.cli", "doctor"]
    done = subprocess.run(command, env=machine.environment, cwd=machine.folder, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("danube: doctor: a CPU run lacks program; ")
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("  program ") and "WRONG" in line]
    assert re.search(rf" {re.escape(VERSION)} in {re.escape(str(REPOSITORY))}(, not installed)?: ", line)
    assert "safetensors" in line


@pytest.mark.slow
def test_a_config_that_this_machine_cannot_run(machine: Machine) -> None:
    keep = "exp_manager.checkpoint_callback_params.save_last_n=1000000000000"
    seen = machine.examine(*CPU, *FP8, keep, "data.dir=/proc/nowhere")
    assert seen.code == 2
    run, data = seen.findings["disk of the run"], seen.findings["disk of the data"]
    assert (run["state"], data["state"]) == ("wrong", "wrong")
    assert run["remedy"] == "free some space, or set exp_manager.exp_dir"
    assert data["remedy"] == "make it writable, or set data.dir"
    assert not (machine.folder / "runs").exists()
    assert seen.findings["config"]["remedy"] == "FP8 needs a GPU: set model.fp8=null"


@pytest.mark.slow
@needs_small_disk
def test_dockers_shared_memory(machine: Machine) -> None:
    script = 'mount -t tmpfs -o size=64m none /dev/shm; "$@"'
    done = with_mounts(script, sys.executable, "-m", "custom_modules.cli", "doctor", "--gpu")
    assert done.returncode == 2
    assert "\n  shared memory       WRONG    67.11 MB in /dev/shm, 67.11 MB free\n" in done.stdout
    assert "in a container, start it with --shm-size=1g or more" in done.stdout


@pytest.mark.slow
def test_what_is_wrong_on_a_cpu_too(machine: Machine) -> None:
    """megatron-core imports whatever is named apex; and this clock is behind that of who installed the program."""
    machine.package("apex", "0.9.10.dev0", {"apex/__init__.py": ""})
    shutil.copytree(REPOSITORY / "custom_modules", machine.packages / "custom_modules")
    shutil.copy(REPOSITORY / "pyproject.toml", machine.packages)
    installed = machine.packages / "custom_modules" / "cli.py"
    os.utime(installed, (time.time() + 864_000,) * 2)
    seen = machine.examine()
    assert seen.code == 2
    assert seen.errors.startswith("danube: doctor: a CPU run lacks Apex, clock; ")
    assert seen.findings["clock"]["found"].endswith(" s younger")


def test_overrides_of_no_config(machine: Machine) -> None:
    refused = machine.run("trainer.devices=1")
    assert refused.returncode == 2
    assert refused.stderr.startswith("danube: trainer.devices=1: ")
    assert "--config-name" in refused.stderr
