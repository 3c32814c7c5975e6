"""Compiles ``transformer_engine_torch``, the C++ between Transformer Engine's Python and its kernels, as released.

PyPI has its source alone, since it has to fit torch. It needs no CUDA compiler.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from pathlib import Path

from tests.null_gpu.environments import Environment
from tests.null_gpu.install.headers import compiler_environment
from tests.null_gpu.install.problem import CannotBeMadeError, succeed

PROJECT = "transformer-engine-torch"
MODULE = "transformer_engine_torch"
PARTS = 3
"""What its files are compiled in. Nearly all of the time that one takes goes into headers, the same for each."""
JOBS = "MAX_JOBS"
"""Environment variable: how many parts are compiled at a time; not set: as many as there are cores."""


def build_extension(environment: Environment) -> None:
    """Compile it by its own setup.py, whose ninja goes on with the parts that an attempt before has left."""
    source, built = _source(environment), environment.folder / "extension"
    variables = compiler_environment(environment)
    variables[JOBS] = os.environ.get(JOBS) or str(len(os.sched_getaffinity(0)))
    command = [environment.interpreter, "setup.py", "build_ext", "--build-lib", built]
    succeed(command, cwd=source, env=variables)
    [library] = built.rglob(f"{MODULE}.*.so")
    target = environment.site_packages / library.relative_to(built)
    aside = target.with_suffix(".partial")
    shutil.copyfile(library, aside)
    succeed(["strip", aside])
    aside.replace(target)


def _source(environment: Environment) -> Path:
    """Unpack its source, once."""
    folder = environment.folder / f"{MODULE}-{environment.transformer_engine}"
    if folder.is_dir():
        return folder
    downloads = environment.folder / "downloads"
    wanted = f"{PROJECT}=={environment.transformer_engine}"
    # Its setup.py is asked for its name: it imports torch, and looks for CUDA.
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-binary", PROJECT, "--dest", downloads]
    variables = compiler_environment(environment)
    succeed([environment.interpreter, "-m", "pip", "download", *options, wanted], env=variables)
    archives = list(downloads.glob(f"{MODULE}-{environment.transformer_engine}.tar.gz"))
    if not archives:
        raise CannotBeMadeError(f"{wanted}: pip found no source of it")
    aside = environment.folder / "unpacked"
    shutil.rmtree(aside, ignore_errors=True)
    with tarfile.open(archives[0]) as archive:
        archive.extractall(aside, filter="data")
    join(aside / folder.name / "csrc")
    (aside / folder.name).rename(folder)
    return folder


def join(folder: Path) -> None:
    """Have a folder's C++ files compiled as `PARTS` that include them, about as long as each other."""
    parts: list[list[Path]] = [[] for _ in range(PARTS)]
    lengths = {file: file.stat().st_size for file in sorted(folder.rglob("*.cpp"))}
    for file in sorted(lengths, key=lengths.__getitem__, reverse=True):
        min(parts, key=lambda part: sum(map(lengths.__getitem__, part))).append(file)
    for number, part in enumerate(parts):
        included = [file.rename(file.with_suffix(".inc")).relative_to(folder) for file in part]
        (folder / f"part_{number}.cpp").write_text("".join(f'#include "{name}"\n' for name in included))
