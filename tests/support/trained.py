"""A small trained model, with nothing at its default."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.files import sha256_of

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


def loki_config(*overrides: str) -> Config:
    return small_config("model.architecture=lokilm", "model.sliding_window=null", "model.kv_channels=16", *overrides)


def make_trained(config: Config, tokenizer_model: Path, run_dir: Path, lengths: Sequence[int]) -> Trained:
    """Save a model whose weights are large enough that a wrong one, or a window off by one, changes the logits."""
    from custom_modules.config.stages import Curriculum
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron
    from custom_modules.run_folder.progress import Progress
    from custom_modules.training.checkpoint import save_checkpoint
    from custom_modules.training.engine import Engine

    import_megatron()
    generator = torch.Generator().manual_seed(0)
    samples = {length: torch.randint(500, (2, length), generator=generator) for length in lengths}
    platform = Platform.detect(config)
    with platform.running(config):
        engine = Engine(config, Curriculum.from_config(config), platform)
        [gpt] = engine.chunks
        for parameter in gpt.parameters():
            parameter.data.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.2, generator=generator)
        progress = Progress(consumed_tokens=8192, step=1, stage="stage1")
        digest = sha256_of(tokenizer_model)
        checkpoint = save_checkpoint(engine, run_dir, progress, tokenizer_model.parent, digest, set())
        positions = {length: torch.arange(length).expand(2, -1) for length in lengths}
        with torch.no_grad():
            logits = {length: gpt(samples[length], positions[length], None)[..., :500] for length in lengths}
    return Trained(config, run_dir, checkpoint, samples, logits)
