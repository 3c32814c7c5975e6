"""A run that begins with the weights of a Hugging Face folder."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import read_metrics


@pytest.mark.slow
def test_a_run_goes_on_from_converted_weights(
    danube: Callable[..., subprocess.CompletedProcess[str]],
    tiny: Callable[..., list[str]],
    prepared: Path,
    tmp_path: Path,
) -> None:
    trained, exported = tmp_path / "first", tmp_path / "hf"
    distributed = "model.optim.name=distributed_fused_adam"
    configured = tiny("second", distributed)[1:]
    for command in (
        tiny("first", "trainer.devices=1"),
        ["convert", "to-hf", str(trained), str(exported)],
        [
            *["convert", "from-hf", str(exported), str(tmp_path / "second"), *configured],
            f"model.tokenizer.model={prepared / 'tokenizer' / 'tokenizer.model'}",
        ],
        tiny("second", "trainer.devices=2", distributed),
    ):
        done = danube(*command)
        assert done.returncode == 0, done.stderr
    first, second = read_metrics(trained), read_metrics(tmp_path / "second")
    assert [line["tokens"] for line in second] == [line["tokens"] for line in first]
    assert second[0]["loss"] < (first[0]["loss"] + first[-1]["loss"]) / 2
    assert second[-1]["loss"] < first[-1]["loss"]
