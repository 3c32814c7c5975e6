"""On a CPU megatron-core comes without torch's compiler, and torch keeps its own."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch


@pytest.mark.skipif(torch.cuda.is_available(), reason="on a GPU the fused functions are compiled")
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
