"""Both loaders bring to the GPU what plain indexing reads, bit for bit, while kernels before them still run."""

from __future__ import annotations

from dataclasses import replace
from importlib.util import find_spec

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.batches import micro_batches
from custom_modules.data.loader import Loader
from custom_modules.data.random_tokens import RandomTokens
from tests.support.gpu import Machine

VOCABULARY = 32_000


@pytest.mark.parametrize("loader", ["native", "dali"])
def test_the_same_batches(machine: Machine, loader: str) -> None:
    if loader == "dali" and (find_spec("nvidia") is None or find_spec("nvidia.dali") is None):
        pytest.skip("NVIDIA DALI is not installed (the `dali` extra)")
    config = load_config("danube_1_8b", ["trainer.devices=4", f"data.loader={loader}", "data.prefetch_factor=3"])
    stage = replace(Curriculum.from_config(config).stages[1], micro_batch_size=2, global_batch_tokens=32 * 4096)
    dataset = RandomTokens(stage.seq_length, VOCABULARY)
    device = torch.device("cuda", 0) if machine.accelerator == "gpu" else torch.device("cpu")
    expected = list(micro_batches(dataset, stage, 32, 128, 3, VOCABULARY))
    busy = torch.randn(1024, 1024, device=device)
    with Loader(config.data, VOCABULARY, 3, device).open(dataset, stage, range(32, 128)) as batches:
        for one in expected:
            other = next(batches)
            for _ in range(20):
                busy = busy @ busy / 32
            assert one.keys() == other.keys()
            for name, tensor in other.items():
                assert (tensor.device.type, tensor.dtype) == (device.type, torch.int64)
                assert torch.equal(tensor.cpu(), one[name])
