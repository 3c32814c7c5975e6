"""A checkpoint's ``metadata.json``: what a run or a conversion wrote of itself is what the next one reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint, cause_of, open_checkpoint
from custom_modules.run_folder.metadata import METADATA, describe_file, write_metadata
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.validation_record import ValidationRecord

CONFIG = load_config("danube_rehearsal")
LAYOUT = {"tensor": 2, "pipeline": 1, "context": 1, "data": 4}


def write(folder: Path, progress: Progress | None, weights_only: bool | None) -> Checkpoint:
    (folder / "dist").mkdir()
    (folder / "dist" / "common.pt").write_bytes(b"weights")
    files = {"dist/common.pt": describe_file(folder / "dist" / "common.pt")}
    write_metadata(folder, CONFIG, "0" * 64, files, progress, LAYOUT if progress else None, weights_only)
    return open_checkpoint(folder)


@pytest.mark.parametrize("record", [None, ValidationRecord("stage2", 64, 4, [2.5, 2.25], "1" * 64)])
def test_a_run_finds_again_where_it_was(record: ValidationRecord | None, tmp_path: Path) -> None:
    progress = Progress(4096, 8, "stage2", True, 12.5, 3, {"stage1": "a", "stage2": "b"}, record)
    checkpoint = write(tmp_path, progress, None)
    assert checkpoint.progress == progress
    assert (checkpoint.consumed_tokens, checkpoint.step, checkpoint.stage, checkpoint.is_stage_end) == (
        progress.consumed_tokens,
        progress.step,
        progress.stage,
        progress.is_stage_end,
    )
    assert checkpoint.layout == LAYOUT and checkpoint.config() == CONFIG and not checkpoint.weights_only
    assert checkpoint.tokenizer_sha256 == "0" * 64


@pytest.mark.parametrize("weights_only", [True, False])
def test_a_conversions_is_that_of_a_run_that_has_read_nothing(weights_only: bool, tmp_path: Path) -> None:
    checkpoint = write(tmp_path, None, weights_only)
    assert checkpoint.progress == Progress()
    assert (checkpoint.consumed_tokens, checkpoint.step, checkpoint.stage) == (0, 0, "")
    assert (checkpoint.layout, checkpoint.weights_only) == ({}, weights_only)


def test_both_have_the_same_keys_in_the_same_order(tmp_path: Path) -> None:
    keys = []
    for name, progress, weights_only in (("run", Progress(), None), ("conversion", None, True)):
        (tmp_path / name).mkdir()
        write(tmp_path / name, progress, weights_only)
        keys.append(list(json.loads((tmp_path / name / METADATA).read_text())))
    run, conversion = keys
    assert [key for key in conversion if key != "weights_only"] == run


class Failed(Exception):
    """Stands for torch's ``CheckpointException``: the failures by rank, each with its traceback."""

    def __init__(self, failure: BaseException) -> None:
        super().__init__("several ranks failed")
        self.failures = {1: (failure, None)}


@pytest.mark.parametrize("cause", [UserError("x: missing"), OSError(28, "No space left"), KeyboardInterrupt()])
def test_what_stopped_a_save_is_found_behind_what_was_raised_for_it(cause: BaseException) -> None:
    failure = RuntimeError("the writer failed")
    failure.__cause__ = ValueError("somewhere")
    failure.__cause__.__context__ = cause
    assert cause_of(Failed(failure)) is cause
    assert cause_of(cause) is cause


def test_what_has_no_cause_is_told_in_one_line() -> None:
    assert str(cause_of(Failed(RuntimeError("unexpected\n  position")))) == "unexpected position"
    assert str(cause_of(Failed(RuntimeError()))) == "RuntimeError"
