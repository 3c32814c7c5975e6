"""Python imports this first, where its folder is on the path: every process of the program then ignores values."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

ENGINE = "custom_modules.training.engine"


class EngineFinder(MetaPathFinder):
    """Changes the engine as soon as it is imported, and not before: importing torch here would slow every process."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != ENGINE:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                execute(module)
                from tests.null_gpu.values import ignore_values

                ignore_values(module.Engine)

            spec.loader.exec_module = execute_and_change  # type: ignore[method-assign]
        return spec


sys.meta_path.insert(0, EngineFinder())
