"""``metrics.jsonl``: what was written is what is read, whatever else stands in the file."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from custom_modules.errors import UserError
from custom_modules.run_folder.metrics import METRICS, Metrics, MetricsWriter, TrainMetrics, ValidationMetrics
from custom_modules.run_folder.metrics import read_metrics as read


def records(steps: int) -> list[Metrics]:
    found: list[Metrics] = []
    for step in range(1, steps + 1):
        common: dict[str, Any] = {"step": step, "tokens": 100 * step, "stage": "stage1", "seq_length": 8}
        found.append(
            TrainMetrics(
                **common,
                loss=9 / step,
                learning_rate=1e-4 * step,
                grad_norm=0.5,
                tokens_per_second=1234.5,
                mfu=None,
                elapsed_seconds=float(step),
            )
        )
        if step % 2 == 0:
            found.append(ValidationMetrics(**common, loss=10 / step))
    return found


def write(run_dir: Path, written: list[Metrics], consumed_tokens: int = 0) -> Path:
    writer = MetricsWriter(run_dir, consumed_tokens, tensorboard=False)
    for record in written:
        writer.write(record)
    writer.close()
    return run_dir / METRICS


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write(tmp_path, records(4))
    assert read(tmp_path) == records(4)


def test_a_line_has_its_kind_and_the_fields_by_their_names(tmp_path: Path) -> None:
    train, *_, validation = [json.loads(line) for line in write(tmp_path, records(2)).read_text().splitlines()]
    common = ["kind", "step", "tokens", "stage", "seq_length", "loss"]
    assert list(train) == [*common, "learning_rate", "grad_norm", "tokens_per_second", "mfu", "elapsed_seconds"]
    assert list(validation) == [*common, "bits_per_byte", "sources"]
    assert (train["kind"], validation["kind"]) == ("train", "validation")


def test_a_resumed_run_writes_what_an_undisturbed_one_does(tmp_path: Path) -> None:
    path = write(tmp_path, records(6))
    undisturbed = path.read_bytes()
    path.write_bytes(undisturbed[:-20])
    write(tmp_path, [record for record in records(6) if record.tokens > 300], consumed_tokens=300)
    assert path.read_bytes() == undisturbed
    assert [left.name for left in tmp_path.iterdir()] == [METRICS]


def test_a_line_that_is_being_written_is_left_for_later(tmp_path: Path) -> None:
    path = write(tmp_path, records(3))
    whole = path.read_bytes()
    for cut in range(1, len(whole.splitlines()[-1])):
        path.write_bytes(whole[: -1 - cut])
        assert read(tmp_path) == records(3)[:-1]


@pytest.mark.parametrize(
    ("line", "reason"),
    [("{", "Expecting"), ("3", "not subscriptable"), ('{"kind": "train", "step": 1}', "no tokens")],
)
def test_a_line_that_is_none_is_named(line: str, reason: str, tmp_path: Path) -> None:
    path = write(tmp_path, records(2))
    path.write_text(f"{line}\n{path.read_text()}")
    with pytest.raises(UserError, match=rf"{METRICS}:1: not a metrics record \(.*{reason}.*\); remove that line"):
        read(tmp_path)


def test_a_loss_that_was_not_finite_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, records(1))
    path.write_text(path.read_text().replace('"loss": 9.0', '"loss": null'))
    [record] = read(tmp_path)
    assert isinstance(record, TrainMetrics) and math.isnan(record.loss)


def test_what_distilled_steps_were_trained_on(tmp_path: Path) -> None:
    """In the line, and a curve of its own for each target in TensorBoard; nothing where no step was distilled."""
    plain, *_ = records(1)
    assert isinstance(plain, TrainMetrics)
    distilled = replace(plain, tokens=200, step=2, objective=1.25, wins={"ground_truth": 0.75, "oak": 0.25})
    writer = MetricsWriter(tmp_path, 0, tensorboard=True)
    for record in (plain, distilled):
        writer.write(record)
    writer.close()
    assert read(tmp_path) == [plain, distilled]
    first, second = [json.loads(line) for line in (tmp_path / METRICS).read_text().splitlines()]
    assert (second["loss"], second["objective"], second["wins"]) == (9.0, 1.25, {"ground_truth": 0.75, "oak": 0.25})
    assert not {"objective", "wins"} & first.keys()
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    found = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert found["train/objective"] == [(200, 1.25)]
    assert (found["train/wins/ground_truth"], found["train/wins/oak"]) == ([(200, 0.75)], [(200, 0.25)])
    assert found["train/loss"] == [(100, 9.0), (200, 9.0)]
