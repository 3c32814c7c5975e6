"""Checkpoints without a part that their own list of files does not name."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from custom_modules.run_folder.metadata import METADATA, describe_file


def without_file(name: str) -> Callable[[Path], None]:
    return lambda dist: (dist / name).unlink()


def without_entry(name: str) -> Callable[[Path], None]:
    """Nothing of a name is in the index of the tensors."""

    def change(dist: Path) -> None:
        index = pickle.loads((dist / ".metadata").read_bytes())
        del index.state_dict_metadata[name]
        index.storage_data = {place: info for place, info in index.storage_data.items() if place.fqn != name}
        (dist / ".metadata").write_bytes(pickle.dumps(index))

    return change


def without_common(*names: str) -> Callable[[Path], None]:
    """Nothing of a name is among what all ranks have in common."""

    def change(dist: Path) -> None:
        common: dict[str, Any] = torch.load(dist / "common.pt", weights_only=True)
        inner = common
        for name in names[:-1]:
            inner = inner[name]
        del inner[names[-1]]
        torch.save(common, dist / "common.pt")

    return change


def describe_again(checkpoint: Path, writer: str) -> None:
    """Have its list be of the files that it has, and its writer a version of megatron-core."""
    metadata = json.loads((checkpoint / METADATA).read_text())
    there = [path for path in checkpoint.rglob("*") if path.is_file() and path != checkpoint / METADATA]
    metadata["files"] = {str(path.relative_to(checkpoint)): describe_file(path) for path in there}
    metadata["versions"]["megatron-core"] = writer
    (checkpoint / METADATA).write_text(json.dumps(metadata))
