"""A small trained model, with nothing at its default."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config

WINDOW = 24
SMALL = [
    "trainer.devices=1",
    "trainer.cpu_threads=1",
    "model.num_layers=3",
    "model.hidden_size=64",
    "model.ffn_hidden_size=80",
    "model.num_attention_heads=8",
    "model.num_query_groups=2",
    "model.kv_channels=12",
    "model.vocab_size=500",
    "model.make_vocab_size_divisible_by=48",
    "model.rotary_base=5000",
    "model.layernorm_epsilon=1e-4",
    f"model.sliding_window={WINDOW}",
]
"""Nothing at its default: 528 rows for 500 tokens, and a head dim that is not hidden / heads."""
LENGTHS = (WINDOW - 5, WINDOW, WINDOW + 1, 100)


@dataclass(frozen=True)
class Trained:
    config: Config
    run_dir: Path
    checkpoint: Path
    samples: dict[int, Tensor]
    """``[2, s]`` tokens by length."""
    logits: dict[int, Tensor]
    """``[2, s, 500]`` in fp32."""


def small_config(*overrides: str) -> Config:
    return load_config("danube_rehearsal", [*SMALL, *overrides])
