"""Which checkpoints stay, whatever they were saved for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config
from custom_modules.config.schema import CheckpointConfig
from custom_modules.errors import UserError
from custom_modules.run_folder.best import best_of_last_stage, whole_checkpoints
from custom_modules.run_folder.checkpoint_files import checkpoints_dir, folder_name, list_folders
from custom_modules.run_folder.metadata import write_metadata
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.retention import prune

CONFIG = load_config("danube_rehearsal")


def save(
    run_dir: Path, tokens: int, is_stage_end: bool = False, losses: Sequence[float] = (), stage: str = "stage1"
) -> None:
    """Publish a checkpoint without weights; ``losses`` are those of the steps since the one before."""
    folder = checkpoints_dir(run_dir) / folder_name(tokens)
    folder.mkdir(parents=True)
    progress = Progress(consumed_tokens=tokens, stage=stage, is_stage_end=is_stage_end)
    for loss in losses:
        progress.add_step(loss, None, 1)
    write_metadata(folder, CONFIG, "", {}, progress)


def numbers(run_dir: Path) -> set[int]:
    return {int(path.name.removeprefix("tokens_")) for path in list_folders(run_dir)}


@settings(deadline=None, max_examples=40)
@given(
    saves=st.lists(
        st.tuples(st.integers(1, 400), st.booleans()), min_size=1, max_size=25, unique_by=lambda one: one[0]
    ),
    last=st.integers(1, 4),
    every=st.none() | st.integers(1, 120),
)
def test_what_stays(saves: list[tuple[int, bool]], last: int, every: int | None) -> None:
    """Pruned after each save, as a run does: the last ones, ends of stages, and the first one behind each multiple."""
    kept = CheckpointConfig(every_n_train_tokens=1, save_last_n=last, keep_every_n_tokens=every)
    with TemporaryDirectory() as folder:
        for tokens, is_end in sorted(saves):
            save(Path(folder), tokens, is_end)
            prune(Path(folder), kept, ())
        found = numbers(Path(folder))
    saved = sorted(tokens for tokens, _ in saves)
    multiples = range(every, saved[-1] + 1, every) if every else ()
    to_go_back_to = {min(tokens for tokens in saved if tokens >= multiple) for multiple in multiples}
    assert found == {*saved[-last:], *(tokens for tokens, is_end in saves if is_end), *to_go_back_to}


@settings(deadline=None, max_examples=25)
@given(
    losses=st.lists(st.sampled_from([1.0, 1.5, 2.0, 2.5, 3.0, math.nan]), min_size=1, max_size=12),
    second=st.integers(0, 12),
    last=st.integers(1, 3),
    best=st.integers(1, 3),
)
def test_the_best_of_the_last_stage_stay(losses: list[float], second: int, last: int, best: int) -> None:
    """By the mean since the checkpoint before; of equal ones the later. A loss that is not finite is never among them.

    Those of a stage that has ended go when the next has its first.
    """
    kept = CheckpointConfig(every_n_train_tokens=1, save_last_n=last, monitor="reduced_train_loss", save_top_k=best)
    stages = ["stage1" if number < second else "stage2" for number in range(len(losses))]
    with TemporaryDirectory() as folder:
        for number, (loss, stage) in enumerate(zip(losses, stages, strict=True)):
            save(Path(folder), number + 1, losses=[loss - 0.25, loss + 0.25], stage=stage)
            prune(Path(folder), kept, ())
        found = numbers(Path(folder))
        named = [checkpoint.consumed_tokens for checkpoint in best_of_last_stage(whole_checkpoints(Path(folder)), best)]
    of_last = [n for n in range(len(losses)) if stages[n] == stages[-1] and math.isfinite(losses[n])]
    chosen = [number + 1 for number in sorted(of_last, key=lambda number: (losses[number], -number))[:best]]
    assert named == chosen
    assert found == {*range(max(1, len(losses) - last + 1), len(losses) + 1), *chosen}


def test_what_is_named_stays_and_does_not_count(tmp_path: Path) -> None:
    for tokens in (1, 2, 3):
        save(tmp_path, tokens)
    kept = CheckpointConfig(every_n_train_tokens=1, save_last_n=1, keep_every_n_tokens=None)
    prune(tmp_path, kept, {checkpoints_dir(tmp_path) / folder_name(3)})
    assert numbers(tmp_path) == {2, 3}


@pytest.mark.parametrize("value", ["0", "-5", "1.5"])
def test_a_number_that_is_none(value: str) -> None:
    key = "exp_manager.checkpoint_callback_params.keep_every_n_tokens"
    with pytest.raises(UserError, match=key):
        load_config("danube_rehearsal", [f"{key}={value}"])
