"""Makes environments of the null GPU, or goes on with what is left of them.

`python -m tests.null_gpu.install [NAME ...]`: those of tests/null_gpu/environments.py; none: the first. Where one
cannot be made the reason is said, and the code is 0, since a machine without a compiler or a registry is no fault of
the project's; under REQUIRE_NULL_GPU=1 it is 1.
"""

from __future__ import annotations

import os
import platform
import shutil
import sys

from custom_modules.errors import UserError
from custom_modules.folder_lock import folder_lock
from tests.null_gpu.environments import ENVIRONMENTS, Environment
from tests.null_gpu.install.problem import CannotBeMadeError
from tests.null_gpu.install.record import make, unfinished
from tests.null_gpu.install.steps import STEPS

TOOLS = ("cc", "c++", "nm")
NEEDED_BYTES = 12 * 10**9
"""The size of an environment, with what is needed while it is made."""
REQUIRED = "REQUIRE_NULL_GPU"


def install(environment: Environment) -> None:
    """Make what is missing of an environment.

    Raises:
        UserError: it cannot be made here, or another process is making it.
    """
    with folder_lock(environment.folder, "the environment"):
        check_machine(environment)
        make(environment, STEPS, say)


def check_machine(environment: Environment) -> None:
    """Raises CannotBeMadeError for a machine that could not even begin."""
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise CannotBeMadeError(
            f"{sys.platform} on {platform.machine()}: Transformer Engine is for Linux on x86_64 here"
        )
    if absent := [tool for tool in TOOLS if not shutil.which(tool)]:
        raise CannotBeMadeError(f"{', '.join(absent)}: not installed; install a C++ compiler (build-essential)")
    free = shutil.disk_usage(environment.folder).free
    begun = any(step.name == "Transformer Engine" for step in unfinished(environment, STEPS))
    if begun and free < NEEDED_BYTES:
        raise CannotBeMadeError(
            f"{environment.folder}: {free / 1e9:.0f} GB free; make room for {NEEDED_BYTES / 1e9:.0f}"
        )


def say(line: str) -> None:
    print(f"null GPU: {line}", file=sys.stderr, flush=True)


def main(names: list[str]) -> int:
    problems = 0
    for name in names or list(ENVIRONMENTS)[:1]:
        if name not in ENVIRONMENTS:
            say(f"{name}: no such environment; there are {', '.join(ENVIRONMENTS)}")
            return 2
        try:
            install(ENVIRONMENTS[name])
        except UserError as error:
            say(f"{name} cannot be made here, its tests are skipped: {error}")
            problems += 1
    return 1 if problems and os.environ.get(REQUIRED) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
