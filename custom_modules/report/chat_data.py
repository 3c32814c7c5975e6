"""What conversations or pairs a run was prepared from, for its page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from custom_modules.data.chat_manifest import ChatManifest, find_chat_manifest
from custom_modules.errors import UserError

Table = tuple[str, list[tuple[str, ...]]]
"""A heading, and rows, of which the first one is the header."""


def chat_data_tables(plain: Mapping[str, Any]) -> list[Table]:
    """Return tables of the sources and of what was dropped; none where the data is gone, or is no conversations.

    Args:
        plain: the config of the run's last start.
    """
    directory = (plain.get("data") or {}).get("dir")
    try:
        manifest = find_chat_manifest(Path(directory)) if directory else None
    except UserError:
        manifest = None
    if manifest is None:
        return []
    dropped = _dropped(manifest)
    tables = [("Data", _sources(manifest)), ("Samples", _samples(manifest))]
    return [*tables, *([("Dropped records", dropped)] if len(dropped) > 1 else [])]


def _sources(manifest: ChatManifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("source", "records read", "kept", "trained on", "held out")]
    for name in dict.fromkeys(file["name"] for file in manifest.sources):
        files = [file for file in manifest.sources if file["name"] == name]
        numbers = [sum(file[key] for file in files) for key in ("read", "kept")]
        numbers += [manifest.splits[split].sources.get(name, 0) for split in ("train", "validation")]
        rows.append((name, *(f"{number:,}" for number in numbers)))
    return rows


def _samples(manifest: ChatManifest) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = [("split", "samples", "tokens", "of answers", "mean length", "longest")]
    for name, split in manifest.splits.items():
        numbers = [
            split.samples,
            split.tokens,
            split.answer_tokens,
            split.tokens / max(split.samples, 1),
            split.longest,
        ]
        rows.append((name, *(f"{number:,.0f}" for number in numbers)))
    return rows


def _dropped(manifest: ChatManifest) -> list[tuple[str, ...]]:
    found: Counter[tuple[str, str]] = Counter()
    for file in manifest.sources:
        found[file["name"], "cannot be read"] += file["skipped"]
        for reasons in file["removed"].values():
            for reason, number in reasons.items():
                found[file["name"], reason] += number
    rows = [(name, reason, f"{number:,}") for (name, reason), number in found.items() if number]
    return [("source", "reason", "records"), *rows]
