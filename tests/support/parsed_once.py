"""Config files parsed once for the same text: by a process of tests, and by copies of it.

To parse `nemo_configs/base.yaml`, and what Hydra brings, is a third of what a config costs, and tests load thousands.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import IO, Any

from omegaconf import OmegaConf

from custom_modules.config.load import CONFIG_DIR

_parse = OmegaConf.load
_parsed: dict[str | bytes, bytes] = {}


def parse_once() -> None:
    """Have OmegaConf remember what it made of a text; every caller gets a config of its own."""
    OmegaConf.load = staticmethod(_load)  # type: ignore[method-assign]


def parse_recipes() -> None:
    """Parse the program's own files, so that copies of this process need not."""
    parse_once()
    for path in CONFIG_DIR.rglob("*.yaml"):
        OmegaConf.load(path)


def _load(file_: str | Path | IO[Any]) -> Any:
    """Take the place of ``OmegaConf.load``, with its errors."""
    if isinstance(file_, str | Path):
        with Path(file_).open(encoding="utf-8") as file:
            return _load(file)
    text = file_.read()
    if text not in _parsed:
        file_.seek(0)
        _parsed[text] = pickle.dumps(_parse(file_))
    return pickle.loads(_parsed[text])
