"""Whether the program's own modules import, as one JSON object on stdout: run in a process of its own."""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

PACKAGES = ("run_folder", "training", "conversion")
"""What a save, a resume and a conversion are made of; they import the rest."""
OPTIONAL = ("transformer_engine", "fused_weight_gradient_mlp_cuda", "nvidia", "gigatoken", "lm_eval", "datasets")
"""Modules that are done without where they are not there; they have lines of their own, or a use elsewhere."""


def main() -> None:
    """Keys: ``modules`` (how many of the project were imported), ``problems`` (of each that is missing or broken, its
    name and why)."""
    problems: dict[str, str] = {}
    if _imports("custom_modules.platform.megatron", problems):
        from custom_modules.platform.megatron import import_megatron

        import_megatron()
    for package in PACKAGES:
        folder = Path(__file__).resolve().parents[1] / package
        for module in pkgutil.walk_packages([str(folder)], f"custom_modules.{package}."):
            _imports(module.name, problems)
    ours = {name: module for name, module in sys.modules.items() if name.startswith("custom_modules.")}
    for name in sorted({name for module in ours.values() for name in _imported_later(module)}):
        _imports(name, problems)
    print(json.dumps({"modules": len(ours), "problems": [*problems.items()]}))


def _imports(name: str, problems: dict[str, str]) -> bool:
    try:
        importlib.import_module(name)
    except Exception as error:
        problems.setdefault(getattr(error, "name", None) or name, " ".join(str(error).split()))
        return False
    return True


def _imported_later(module: Any) -> Iterator[str]:
    """Give the modules that a module's functions import when they are called."""
    tree = ast.parse(Path(module.__file__).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    for node in (inner for function in functions for inner in ast.walk(function)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [str(node.module)]
        else:
            continue
        yield from (name for name in names if name.partition(".")[0] not in OPTIONAL)


if __name__ == "__main__":
    main()
