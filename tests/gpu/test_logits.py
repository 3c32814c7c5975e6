"""Transformer Engine in bf16 computes what the local layers do: the same weights, below, at and beyond the window."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.model.build import build_model
from custom_modules.platform import Platform
from custom_modules.platform.kernels import LOCAL, Kernels, kernels_here
from custom_modules.platform.megatron import import_megatron
from tests.support.gpu import BF16, Machine

SHAPE = [
    "trainer.devices=1",
    "model.num_layers=2",
    "model.hidden_size=640",
    "model.ffn_hidden_size=1728",
    "model.num_attention_heads=8",
    "model.num_query_groups=2",
    "model.vocab_size=512",
    "model.init_method_std=0.1",
]
"""A quarter of Danube's width, with its head dim of 80, and weights large enough for a token more to show."""
LENGTHS = (0.5, 1, 3)
"""Of the window."""


def logits(config: Config, platform: Platform, kernels: Kernels, tokens: Tensor) -> Tensor:
    """``[1, s, vocabulary]`` in fp32, on the CPU."""
    model = build_model(config, kernels=kernels).to(platform.device).eval()
    if config.trainer.precision == "bf16-mixed":
        model = model.bfloat16()
    positions = torch.arange(tokens.shape[1])[None]
    with torch.no_grad():
        return model(tokens.to(platform.device), positions.to(platform.device), None).float().cpu()


def spread(error: Tensor) -> float:
    return error.square().mean().sqrt().item()


@pytest.mark.values
@pytest.mark.parametrize("window", [16, pytest.param(256, marks=pytest.mark.needs_gpu)])
@pytest.mark.usefixtures("transformer_engine")
def test_transformer_engine_against_local(machine: Machine, window: int, print_figure: Callable[[str], None]) -> None:
    import_megatron(machine.accelerator)

    def config(precision: list[str], visible: int = window) -> Config:
        return load_config(
            "danube_1_8b", [*SHAPE, machine.here, *precision, "model.fp8=null", f"model.sliding_window={visible}"]
        )

    single, half = config(["trainer.precision=32-true"]), config(BF16)
    platform = Platform.detect(half)
    with platform.running(half):
        fastest = kernels_here(half, machine.accelerator)
        for share in LENGTHS:
            length = int(window * share)
            tokens = torch.randint(512, (1, length), generator=torch.Generator().manual_seed(length))
            reference = logits(single, platform, LOCAL, tokens)
            local = spread(logits(half, platform, LOCAL, tokens) - reference)
            engine = logits(half, platform, fastest, tokens)
            wider = logits(config(["trainer.precision=32-true"], window + 1), platform, LOCAL, tokens)
            error, off_by_one = spread(engine - reference), spread(engine - wider)
            print_figure(
                f"window {window}, {length} tokens: error of bf16 logits, RMS: local {local:.2e}, "
                f"Transformer Engine {error:.2e}, against a window of {window + 1} {off_by_one:.2e}"
            )
            assert error <= 1.5 * local
            if length > window:
                assert error < off_by_one
