"""On a CPU megatron-core comes without torch's compiler, and torch keeps its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.fake_transformer_engine.start import packages


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the fused functions are compiled")
@pytest.mark.slow
def test_no_compiler_is_loaded() -> None:
    program = """
import sys
from custom_modules.platform.megatron import import_megatron
import_megatron()
import megatron.core.models.gpt.gpt_model, torch
print("torch._inductor.compile_fx" in sys.modules, torch.compile.__module__)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "torch"]
    assert done.stderr == ""


@pytest.mark.slow
def test_on_a_cpu_no_kernels_of_a_gpu_are_found() -> None:
    """Transformer Engine (here a fake) may be installed, but its Adam does not take a CPU's tensors."""
    program = """
import sys
from custom_modules.platform.megatron import import_megatron
import_megatron(sys.argv[1])
from megatron.core.extensions.transformer_engine import HAVE_TE
from megatron.core.optimizer import USING_PYTORCH_OPTIMIZER
print(HAVE_TE, USING_PYTORCH_OPTIMIZER)
"""
    command = [sys.executable, "-c", program, "cpu"]
    done = subprocess.run(command, env=packages(), capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "True"]


@pytest.mark.slow
def test_on_a_cpu_no_extension_is_found_that_only_transformer_engine_can_load(tmp_path: Path) -> None:
    """megatron-core imports it by itself, and takes no error but that it is not installed."""
    (tmp_path / "transformer_engine_torch.py").write_text("raise ImportError('undefined symbol: CommOverlapBase')")
    program = """
from custom_modules.platform.megatron import import_megatron
import_megatron("cpu")
try:
    import transformer_engine_torch
except ModuleNotFoundError:
    print("not found")
"""
    path = os.pathsep.join([str(tmp_path), packages()["PYTHONPATH"]])
    environment = {**packages(), "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "not found"


@pytest.mark.slow
def test_a_transformer_engine_that_breaks_on_import_is_said_and_not_found(tmp_path: Path) -> None:
    """Its wheel breaks so where a library of CUDA is missing: not with ImportError, which megatron-core expects."""
    (tmp_path / "transformer_engine").mkdir()
    (tmp_path / "transformer_engine" / "__init__.py").write_text("raise OSError('libcudnn.so.9: cannot open')")
    program = """
import torch
torch.cuda.is_available = lambda: True
from custom_modules.platform.kernels import find_software
from custom_modules.platform.megatron import import_megatron
import_megatron("gpu")
from megatron.core.extensions.transformer_engine import HAVE_TE
print(HAVE_TE, find_software("gpu").transformer_engine_problem, sep="; ")
"""
    path = os.pathsep.join([str(tmp_path), packages()["PYTHONPATH"]])
    environment = {**packages(), "PYTHONPATH": path}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False; not importable: libcudnn.so.9: cannot open"
