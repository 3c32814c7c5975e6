"""A run that begins with the weights of another one, and with everything else anew."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import checkpoints, records
from tests.support.tiny import TINY, prepare

Danube = Callable[..., subprocess.CompletedProcess[str]]
Tiny = Callable[..., list[str]]


@pytest.fixture
def first(danube: Danube, tiny: Tiny, tmp_path: Path) -> Path:
    """A finished run."""
    done = danube(*tiny("first", "trainer.devices=1"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "first"


@pytest.mark.slow
def test_restored_weights_are_those_of_an_export_and_import(
    danube: Danube, tiny: Tiny, first: Path, prepared: Path, tmp_path: Path
) -> None:
    """Two ways to begin with a run's weights, one through Hugging Face's format, train alike to the last bit."""
    changed = ("trainer.devices=2", "model.optim.lr=1e-3")
    restored = tiny("restored", *changed, f"model.restore_from_path={first}")
    for command in (
        ["convert", "to-hf", str(first), str(tmp_path / "hf")],
        [
            *["convert", "from-hf", str(tmp_path / "hf"), str(tmp_path / "imported"), *tiny("imported", *changed)[1:]],
            f"model.tokenizer.model={prepared / 'tokenizer' / 'tokenizer.model'}",
        ],
        tiny("imported", *changed),
        restored,
    ):
        done = danube(*command)
        assert done.returncode == 0, done.stderr
    assert records(tmp_path / "restored") == records(tmp_path / "imported")
    again = danube(*restored)
    assert "stage2 is finished" in again.stderr, "its own checkpoint comes before the restored one"
    done = danube(*restored, "exp_manager.name=without_window", "model.sliding_window=null", "curriculum.stage=stage1")
    newest = checkpoints(first)[-1]
    told = f"beginning with the weights of {newest}, not with its optimizer state (model.sliding_window: 48 -> null)"
    assert told in done.stderr


@pytest.mark.slow
def test_weights_that_do_not_fit(danube: Danube, tiny: Tiny, first: Path, tmp_path: Path) -> None:
    key = f"danube: model.restore_from_path={first}: "

    def refusal(*overrides: str) -> str:
        arguments = tiny("second", "trainer.devices=1", *overrides)
        done = danube(*arguments)
        assert done.returncode == 2
        assert not checkpoints(tmp_path / "second")
        message = done.stderr.splitlines()[-1]
        before = danube("preflight", *arguments[1:])
        assert before.returncode == 2
        assert before.stderr.splitlines()[-1] == f"danube: preflight: weights: {message.removeprefix('danube: ')}"
        return message

    nowhere = f"model.restore_from_path={tmp_path}/nowhere"
    assert refusal(nowhere).startswith(f"danube: {nowhere}: {tmp_path}/nowhere: no such folder; give a run folder")
    here = f"model.restore_from_path={first}"
    assert (
        refusal(here, "model.num_layers=3")
        == f"{key}model.num_layers is 2 there, but 3 here; give a model of this shape"
    )
    (tmp_path / "other").mkdir()
    other = prepare(tmp_path / "other", 380, TINY)
    message = refusal(here, f"data.dir={other}")
    sha256 = json.loads((other / "manifest.json").read_text())["tokenizer"]["sha256"]
    assert message.startswith(f"{key}its tokenizer ")
    assert message.endswith(f"{sha256}; give it that with `danube remap-tokenizer`")
