"""Runs compared by what they leave behind."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

MEASURED = ("tokens_per_second", "elapsed_seconds", "evaluation_seconds", "share_of_time")
STRETCH = 20
"""Steps whose losses are averaged."""


def checkpoints(run_dir: Path) -> list[Path]:
    return sorted((run_dir / "checkpoints").glob("tokens_*"))


def tensors(checkpoint: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint, weights and optimizer, read with torch's own DCP."""
    reader = dcp.FileSystemReader(checkpoint / "dist")
    metadata = reader.read_metadata().state_dict_metadata
    state = {
        name: torch.empty(entry.size, dtype=entry.properties.dtype)
        for name, entry in metadata.items()
        if isinstance(entry, TensorStorageMetadata)
    }
    dcp.load(state, storage_reader=reader, no_dist=True)
    return state


def records(run_dir: Path) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if name not in MEASURED} for line in lines]


def assert_same_run(one: Path, other: Path) -> None:
    """Bitwise: every logged number, every tensor of the last checkpoint."""
    assert records(one) == records(other)
    assert_same_checkpoint(checkpoints(one)[-1], checkpoints(other)[-1])


def assert_same_checkpoint(one: Path, other: Path) -> None:
    """The same token count, and every tensor bitwise."""
    assert one.name == other.name
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    assert len(first) > 20
    for name, tensor in first.items():
        assert torch.equal(tensor, second[name]), name


def read_metrics(run_dir: Path, kind: str = "train") -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == kind]


def worst_stretch(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return by how much of it the mean loss of a stretch of steps is another, at most."""
    stretches = [slice(n, n + STRETCH) for n in range(0, len(theirs), STRETCH)]
    return max(abs(mean(ours[stretch]) / mean(theirs[stretch]) - 1) for stretch in stretches)
