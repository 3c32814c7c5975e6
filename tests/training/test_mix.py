"""Stages that mix sources, from other weights, as Danube2's do: killed or stopped, a run ends as one left alone."""

from __future__ import annotations

import json
import random
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import start_danube
from tests.support.runs import assert_same_run
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
SOURCES = ("web", "wikipedia", "academic")
MIXES = [
    "++curriculum.stages.stage1.mix={web: 0.845, wikipedia: 0.1, academic: 0.055}",
    "++curriculum.stages.stage2.mix={web: 0.555, wikipedia: 0.25, academic: 0.195}",
    "curriculum.stages.stage3={tokens: 500, encoder_seq_length: 64, mix: {web: 0.2, wikipedia: 0.8}}",
]
"""The last stage has a twentieth of the others' tokens, and a source less."""


@pytest.fixture
def mixed(danube: Callable[..., Run], tiny: Callable[..., list[str]], prepared: Path, tmp_path: Path) -> list[str]:
    """What a `danube pretrain` on three sources, from another run's weights, is told beside its name."""
    tokenizer = prepared / "tokenizer" / "tokenizer.model"
    draw = random.Random(1)
    words = ["".join(draw.choices("abcdefghijklmnop", k=draw.randint(2, 8))) for _ in range(400)]
    for source in SOURCES:
        texts = [" ".join(draw.choices(words, k=draw.randint(10, 60))) for _ in range(150)]
        (tmp_path / f"{source}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    data = [
        *(f"data.sources.{source}={tmp_path}/{source}.jsonl" for source in SOURCES),
        "data.input=null",
        f"data.dir={tmp_path / 'data'}",
        f"model.tokenizer.model={tokenizer}",
        "data.validation_fraction=0.1",
        "data.max_epochs=4",
    ]
    own = [word for word in TINY if word != "~curriculum.stages.stage3"]
    for done in (
        danube("prepare", "--config-name", "danube_rehearsal", *own, *MIXES, *data),
        danube(*tiny("base", "trainer.devices=1", "curriculum.stage=stage1")),
    ):
        assert done.returncode == 0, done.stderr
    restored = f"model.restore_from_path={tmp_path / 'base'}"
    run = ["trainer.devices=2", f"exp_manager.exp_dir={tmp_path}", restored, "model.sliding_window=null"]
    return ["pretrain", "--config-name", "danube_rehearsal", *own, *MIXES, *data, *run]


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGKILL, signal.SIGTERM])
def test_interrupted_in_the_middle_of_mixes(
    sent: signal.Signals, danube: Callable[..., Run], mixed: list[str], tmp_path: Path
) -> None:
    alone, interrupted = [*mixed, "exp_manager.name=alone"], [*mixed, "exp_manager.name=interrupted"]
    assert danube(*alone).returncode == 0
    for step in (9, 17):
        process = start_danube(*interrupted)
        assert process.stderr is not None
        assert any(f"step {step} " in line for line in process.stderr)
        process.send_signal(sent)
        process.communicate()
        assert process.returncode == {signal.SIGKILL: -signal.SIGKILL, signal.SIGTERM: 75}[sent], "it had ended before"
    # One stage at a time from here on, and from weights that are gone by now.
    (tmp_path / "base").rename(tmp_path / "gone")
    for stage in ("stage2", "stage3"):
        done = danube(*interrupted, f"curriculum.stage={stage}")
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "alone", tmp_path / "interrupted")


def test_a_mix_of_what_was_not_prepared(danube: Callable[..., Run], mixed: list[str], tmp_path: Path) -> None:
    added = "curriculum.stages.stage3.mix={web: 0.2, wikipedia: 0.3, academic: 0.5}"
    done = danube(*mixed, "exp_manager.name=run", "trainer.devices=1", added)
    assert done.returncode == 2
    assert not (tmp_path / "run" / "checkpoints").exists(), "it is found before the first stage, not after the second"
    message = done.stderr.splitlines()[-1]
    assert message.startswith(f"danube: {tmp_path}/data/manifest.json: stage3: ")
    assert "50.00% to academic" in message
