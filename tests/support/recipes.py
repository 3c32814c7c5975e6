"""The recipes in nemo_configs/, by the kind of run they are of."""

from __future__ import annotations

import yaml

from custom_modules.config.kinds import PRETRAIN
from custom_modules.config.load import CONFIG_DIR


def recipes(kind: str = PRETRAIN) -> list[str]:
    """Return the names of all recipes of a kind, sorted."""
    names = sorted(path.stem for path in CONFIG_DIR.glob("*.yaml") if not path.stem.startswith("base"))
    return [name for name in names if _kind(name) == kind]


def _kind(name: str) -> str:
    """Return what a file says of its kind, else the first file that it builds on and that says it."""
    written = yaml.safe_load((CONFIG_DIR / f"{name}.yaml").read_text())
    if "kind" in written:
        return str(written["kind"])
    parents = [entry for entry in written.get("defaults", []) if isinstance(entry, str) and entry != "_self_"]
    return next(map(_kind, parents), PRETRAIN)
