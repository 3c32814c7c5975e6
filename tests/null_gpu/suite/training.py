"""A small run that the null GPU trains: three stages, of which a test may run each by itself."""

from __future__ import annotations

from pathlib import Path

from tests.null_gpu.environments import Environment
from tests.null_gpu.guard import Ended
from tests.null_gpu.run import run_danube
from tests.support.tiny import TINY

CURRICULUM = [*TINY, "curriculum.stages.stage3={tokens: 3000, encoder_seq_length: 128}"]
SHAPE = [
    *CURRICULUM,
    "model.hidden_size=256",
    "model.ffn_hidden_size=512",
    "model.num_attention_heads=4",
    "model.micro_batch_size=4",
    "trainer.devices=1",
    "trainer.precision=bf16-mixed",
]
ON_GPU, ON_CPU = "trainer.accelerator=gpu", "trainer.accelerator=cpu"
STEPS = 26
"""Steps of the run, 14 of them in the first stage."""


def train(environment: Environment, data: Path, folder: Path, *overrides: str) -> Ended:
    """Train ``folder / "run"`` to a good end, or go on with it."""
    folders = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]
    ended = run_danube(environment, "pretrain", "--config-name", "danube_rehearsal", *SHAPE, *folders, *overrides)
    assert ended.code == 0, ended.output[-8000:]
    return ended
