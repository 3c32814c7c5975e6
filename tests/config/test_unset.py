"""`data.dir=$UNSET`: nothing stands where a path belongs."""

from __future__ import annotations

import pytest

from tests.support.commands import run_danube

KEYS = (
    "data.dir",
    "data.input",
    "data.sources.web",
    "exp_manager.exp_dir",
    "exp_manager.name",
    "model.restore_from_path",
    "model.tokenizer.model",
)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("nothing", ["", "'  '"])
def test_a_key_of_a_folder_is_not_left_empty(key: str, nothing: str) -> None:
    done = run_danube("plan", "--config-name", "danube_rehearsal", f"{key}={nothing}")
    assert done.returncode == 2
    assert done.stderr.startswith(f"danube: {key}=")
    assert "is a variable unset?" in done.stderr
    assert done.stderr.count("\n") == 1


def test_one_of_several_inputs() -> None:
    done = run_danube("plan", "--config-name", "danube_rehearsal", "data.input=[a.jsonl,'']")
    assert (done.returncode, done.stderr.startswith("danube: data.input=[a.jsonl,]: a path")) == (2, True)


@pytest.mark.parametrize(
    "arguments",
    [
        ("report", ""),
        ("report", "run", "--output", ""),
        ("status", ""),
        ("check-data", ""),
        ("inspect", " "),
        ("sample", ""),
        ("convert", "to-hf", "", "export"),
        ("convert", "to-hf", "run", ""),
        ("convert", "from-hf", "model", ""),
        ("remap-tokenizer", "run", "new", "--to", ""),
        ("train-quality", "gbm", ""),
        ("train-quality", "gbm", "model", "--good", ""),
        ("plan", "--config-dir", ""),
    ],
)
def test_an_argument_that_is_a_path_is_not_left_empty(arguments: tuple[str, ...]) -> None:
    done = run_danube(*arguments)
    assert (done.returncode, "is a variable unset?" in done.stderr) == (2, True)
