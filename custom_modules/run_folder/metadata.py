"""``metadata.json`` of a checkpoint, written and read: where its run was, its config, every file's size and SHA-256."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_modules.config.schema import RunConfig
from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.platform.requirements import versions
from custom_modules.run_folder.progress import Progress

FORMAT = 1
METADATA = "metadata.json"
_KINDS = {"consumed_tokens": int, "step": int, "stage": str, "layout": dict, "config": dict, "files": dict}
"""What every checkpoint's metadata has, and of what kind."""


def describe_file(path: Path, sha256: str | None = None) -> dict[str, Any]:
    """Return what the metadata says of a file: ``bytes`` and ``sha256``.

    Args:
        sha256: where it is known already.
    """
    return {"bytes": path.stat().st_size, "sha256": sha256 or sha256_of(path)}


def write_metadata(
    folder: Path,
    config: RunConfig,
    tokenizer_sha256: str,
    files: Mapping[str, Mapping[str, Any]],
    progress: Progress | None = None,
    layout: Mapping[str, int] | None = None,
    weights_only: bool | None = None,
) -> None:
    """Write a checkpoint's metadata, the last of its files; who publishes the folder puts it on the disk.

    Args:
        folder: the checkpoint's, not yet published.
        config: the run's.
        tokenizer_sha256: the SHA-256 of the tokenizer's file.
        files: what `describe_file` says of every other file, by its path in the folder.
        progress: where the run is; None for a run that has read nothing yet.
        layout: the ranks by kind of parallelism that wrote it; None where there are no RNG states to restore.
        weights_only: for a conversion: whether there is no optimizer state in it.

    Raises:
        OSError: the file cannot be written.
    """
    at = progress or Progress()
    metadata = {
        "format": FORMAT,
        "consumed_tokens": at.consumed_tokens,
        "step": at.step,
        "stage": at.stage,
        "is_stage_end": at.is_stage_end,
        **({} if weights_only is None else {"weights_only": weights_only}),
        "progress": asdict(progress) if progress else {},
        "layout": dict(layout or {}),
        "config": config.model_dump(mode="json"),
        "tokenizer_sha256": tokenizer_sha256,
        "versions": versions(),
        "files": dict(files),
    }
    (folder / METADATA).write_text(json.dumps(metadata, indent=1))


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read a checkpoint's metadata: what `write_metadata` wrote, by its names.

    Raises:
        UserError: there is none that this program reads.
    """
    try:
        metadata = json.loads((folder / METADATA).read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{folder}: not a whole checkpoint: {METADATA} is missing or unreadable ({error})") from None
    if not isinstance(metadata, dict):
        raise UserError(f"{folder}: not a whole checkpoint: {METADATA} is no JSON object")
    if metadata.get("format") != FORMAT:
        raise UserError(f"{folder}: checkpoint format {metadata.get('format')}, but this program reads {FORMAT}")
    for name, kind in _KINDS.items():
        if not isinstance(metadata.get(name), kind):
            raise UserError(f"{folder}: not a whole checkpoint: {METADATA} has no {name} of its kind")
    return metadata
