"""The fake Transformer Engine in this process, which may have been told that there is none."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from tests.fake_transformer_engine.start import FOLDER

NAME = "transformer_engine"


@contextmanager
def fake_engine() -> Iterator[ModuleType]:
    """Import it anew; afterwards every import of ``transformer_engine`` is as it was."""
    before = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == NAME}
    for name in before:
        del sys.modules[name]
    sys.path.insert(0, str(FOLDER / "packages"))
    try:
        yield importlib.import_module(NAME)
    finally:
        sys.path.remove(str(FOLDER / "packages"))
        for name in [name for name in sys.modules if name.partition(".")[0] == NAME]:
            del sys.modules[name]
        sys.modules.update(before)
