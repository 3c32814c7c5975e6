"""The folders in their order: no module imports one of a folder above its own, inside functions neither."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

LAYERS = (
    "custom_modules",  # its own small files: errors, files, text, ...
    "custom_modules.architecture",
    "custom_modules.data_steps",
    "custom_modules.config",
    "custom_modules.tokenizer",
    "custom_modules.chat_tokenizer",
    "custom_modules.distillation",
    "custom_modules.platform",
    "custom_modules.data",
    "custom_modules.model",
    "custom_modules.objective",
    "custom_modules.run_folder",
    "custom_modules.tasks",
    "custom_modules.scoring",
    "custom_modules.plan",
    "custom_modules.training",
    "custom_modules.conversion",
    "custom_modules.chat",
    "custom_modules.dpo",
    "custom_modules.comparison",
    "custom_modules.mt_bench",
    "custom_modules.evaluation",
    "custom_modules.report",
    "data_prep.text",
    "data_prep.input",
    "data_prep.work",
    "data_prep.builtin",
    "data_prep.quality",
    "data_prep.semantic",
    "data_prep.steps",
    "data_prep.across",
    "data_prep.clean",
    "data_prep.tokenize",
    "data_prep.output",
    "data_prep.conversations",
    "data_prep.teach",
    "data_prep.vocabulary",
    "data_prep.rehearsal",
    "data_prep",
    "custom_modules.bench",
    "custom_modules.cluster",
    "custom_modules.doctor",
    "custom_modules.commands",
    "custom_modules.cli",
    "benchmarks",
)
"""From the ground up. A name stands for its modules, but for those of a longer name in the list."""

ON_TOP = {"custom_modules.arguments": "custom_modules.cli", "custom_modules.clean": "custom_modules.cli"}
"""Modules that belong with another layer's."""


def layer(module: str) -> int:
    module = ON_TOP.get(module, module)
    found = [name for name in LAYERS if module == name or module.startswith(f"{name}.")]
    return LAYERS.index(max(found, key=len))


def sources() -> Iterator[tuple[str, Path]]:
    for top in ("custom_modules", "data_prep", "benchmarks"):
        for path in sorted((ROOT / top).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            yield ".".join(parts[:-1] if parts[-1] == "__init__" else parts), path


MODULES = dict(sources())


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                yield whole if whole in MODULES else str(node.module)


@pytest.mark.parametrize("module", MODULES)
def test_imports_nothing_from_above(module: str) -> None:
    for name in imported(ast.parse(MODULES[module].read_text())):
        if name.partition(".")[0] in ("custom_modules", "data_prep", "benchmarks"):
            assert name in MODULES, f"{module} imports {name}, which is not there"
            assert layer(name) <= layer(module), f"{module} imports {name}, of a layer above its own"


def test_the_evaluation_library_is_imported_by_evaluation_alone() -> None:
    """It is an extra, and takes a second."""
    importing = {
        module
        for module, path in MODULES.items()
        if any(name.partition(".")[0] == "lm_eval" for name in imported(ast.parse(path.read_text())))
    }
    assert importing
    assert all(
        module.startswith(("custom_modules.tasks.", "custom_modules.scoring.", "benchmarks.")) for module in importing
    ), importing


def test_every_folder_has_its_place() -> None:
    folders = {module for module, path in MODULES.items() if path.name == "__init__.py" and module.count(".") == 1}
    assert folders - {"custom_modules"} <= {*LAYERS}
