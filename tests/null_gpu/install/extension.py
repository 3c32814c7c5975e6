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
JOBS = "MAX_JOBS"
"""Environment variable: how many files are compiled at a time; not set: as many as there are cores."""


def build_extension(environment: Environment) -> None:
    """Compile it by its own setup.py, whose ninja goes on with the files that an attempt before has left."""
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
    (aside / folder.name).rename(folder)
    return folder
