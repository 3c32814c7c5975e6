"""The adapter makes CUDA's names mean the CPU, and leaves no trace when it closes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from megatron.core.tensor_parallel import random as megatron_random

from custom_modules.platform.cpu_adapter import FACTORIES, cuda_names_on_cpu


def test_factories_build_on_the_cpu() -> None:
    with cuda_names_on_cpu():
        assert torch.zeros(2, device="cuda").device.type == "cpu"
        assert torch.tensor([1.0], device=torch.device("cuda", 0)).device.type == "cpu"
        assert torch.empty(2, device=torch.cuda.current_device()).device.type == "cpu"
        assert torch.zeros(2, device="meta").device.type == "meta"


def test_a_device_in_a_with_statement_means_itself_during_and_after() -> None:
    """transformers opens one to load a model."""
    torch.utils._device._device_constructors.cache_clear()
    with cuda_names_on_cpu(), torch.device("meta"):
        assert torch.empty(2).device.type == "meta"
    with torch.device("meta"):
        assert {getattr(torch, name)(2).device.type for name in ("empty", "ones", "zeros")} == {"meta"}


def test_tensors_name_cuda_types_and_stay_where_they_are() -> None:
    tensor = torch.ones(2)
    with cuda_names_on_cpu():
        assert tensor.type() == "torch.cuda.FloatTensor"
        assert tensor.bfloat16().type() == "torch.cuda.BFloat16Tensor"
        assert tensor.type(torch.float64).dtype == torch.float64
        assert tensor.cuda() is tensor


def test_cuda_rng_is_the_cpus() -> None:
    with cuda_names_on_cpu():
        torch.cuda.manual_seed(5)
        state = megatron_random._get_cuda_rng_state()
        first = torch.rand(3)
        megatron_random._set_cuda_rng_state(state)
        assert torch.equal(torch.rand(3), first)
        tracker = megatron_random.CudaRNGStatesTracker()
        tracker.add("dropout", 7)
        before = torch.get_rng_state()
        with tracker.fork("dropout"):
            drawn = torch.rand(3)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(drawn, torch.rand(3, generator=torch.Generator().manual_seed(7)))


def test_a_checkpoint_is_written_beside_a_gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """torch's writer would copy tensors on a stream of the GPU that is there; this run is not on it."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with cuda_names_on_cpu():
        dcp.save({"weight": torch.ones(2)}, storage_writer=dcp.FileSystemWriter(tmp_path, thread_count=1), no_dist=True)
    loaded = {"weight": torch.zeros(2)}
    dcp.load(loaded, storage_reader=dcp.FileSystemReader(tmp_path), no_dist=True)
    assert torch.equal(loaded["weight"], torch.ones(2))


def test_everything_is_as_before() -> None:
    owners: list[tuple[Any, str]] = [(torch, name) for name in FACTORIES]
    owners += [
        (torch.cuda, name)
        for name in ("current_device", "device_count", "get_rng_state", "is_available", "synchronize")
    ]
    owners += [
        (torch.distributed.DeviceMesh, "from_group"),
        (torch.Tensor, "cuda"),
        (torch.Tensor, "type"),
        (megatron_random, "_get_cuda_rng_state"),
    ]
    before = [getattr(owner, name) for owner, name in owners]
    with pytest.raises(RuntimeError, match="inside"), cuda_names_on_cpu():
        raise RuntimeError("inside")
    assert [getattr(owner, name) for owner, name in owners] == before
    assert torch.ones(1).type() == "torch.FloatTensor"


def test_numbers_are_unchanged() -> None:
    def compute() -> torch.Tensor:
        torch.manual_seed(0)
        weight = torch.nn.Linear(8, 8)
        loss = weight(torch.randn(4, 8)).square().sum()
        loss.backward()
        assert weight.weight.grad is not None
        return weight.weight.grad

    outside = compute()
    with cuda_names_on_cpu():
        assert torch.equal(compute(), outside)
