"""Logits of Transformer Engine in bf16 beside those of the local layers: the same weights, at and beyond the window."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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
"""Lengths, in windows."""


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


@dataclass(frozen=True)
class Errors:
    """Root mean squares of the differences of bf16 logits from those of the local layers in fp32."""

    window: int
    tokens: int
    local: float
    """The local layers' error in bf16."""
    engine: float
    """Transformer Engine's error."""
    off_by_one: float
    """Transformer Engine's distance from the local layers with a window of a token more."""

    def __str__(self) -> str:
        return (
            f"window {self.window}, {self.tokens} tokens: error of bf16 logits, RMS: local {self.local:.2e}, "
            f"Transformer Engine {self.engine:.2e}, against a window of {self.window + 1} {self.off_by_one:.2e}"
        )

    @property
    def are_small(self) -> bool:
        """Whether Transformer Engine is about as near as the local layers are, and the window is the right one."""
        return self.engine <= 1.5 * self.local and (self.tokens <= self.window or self.engine < self.off_by_one)


def compare_logits(machine: Machine, window: int) -> Iterator[Errors]:
    """Compare at lengths below, at and beyond a window."""
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
            yield Errors(window, length, local, spread(engine - reference), spread(engine - wider))
