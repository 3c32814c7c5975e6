"""Small prepared data with a distilled part, for teachers."""

from __future__ import annotations

import json
from pathlib import Path

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from tests.support.tiny import TINY, prepare

TEACHERS = (
    "distillation={every_n_batches: 4, prefix_tokens: 8, top_k: 4, "
    "teachers: {llama: {targets: top_k}, api: {targets: text}}}"
)
DISTILLED = [*TINY, TEACHERS]


def prepare_distilled(folder: Path, documents: int = 400) -> Path:
    """Make small documents, a fourth of which are distilled; returns ``data.dir``."""
    return prepare(folder, documents, DISTILLED)


def config_of(data: Path, *more: str) -> Config:
    """Return the config of such data."""
    return load_config("danube_rehearsal", overrides_of(data, *more))


def overrides_of(data: Path, *more: str) -> list[str]:
    """Return the overrides that such data was prepared with, and others."""
    tokenizer = data.parent / "tokenizer.model"
    return [*DISTILLED, f"data.dir={data}", f"model.tokenizer.model={tokenizer}", *more]


def parts_of(data: Path) -> list[dict[str, object]]:
    """Return the manifest's entries of what is distilled."""
    stages = json.loads((data / "manifest.json").read_bytes())["stages"]
    parts = (part for splits in stages.values() for part in splits["train"])
    return [part for part in parts if part.get("stream") == "distilled"]
