"""Builds the null GPU: the C sources of ``tests/null_gpu/library``, and stubs of what they do not define."""

from __future__ import annotations

import hashlib
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.null_gpu.environments import Environment
from tests.null_gpu.install.headers import include_folders
from tests.null_gpu.install.problem import succeed

SOURCES = Path(__file__).resolve().parents[1] / "library"
IMPORTERS = (
    "torch/lib/libtorch_cuda.so",
    "torch/lib/libtorch_python.so",
    "torch/lib/libc10_cuda.so",
    "torch/lib/libtorch_nvshmem.so",
    "transformer_engine/wheel_lib/libtransformer_engine.so",
)
"""Whose imports have to be there."""
OF_NVIDIA = re.compile(r"(cuda[A-Z]|cublas|cudnn[A-Z]|nccl[A-Z])\w*")
LOOKED_UP = ("cublasLtLoggerSetLevel",)
"""What is looked up by name, and imported nowhere."""
OF_THE_REAL_ONE = ("cudnnGetVersion", "cudnnGetProperty", "cudnnGetCudartVersion")
"""What the real library answers without a GPU."""


def sources_digest(environment: Environment) -> str:
    whole = hashlib.sha256()
    for path in sorted([*SOURCES.glob("*.[ch]"), Path(__file__)]):
        whole.update(path.read_bytes())
    return whole.hexdigest()


def build_library(environment: Environment) -> None:
    """Compile it aside, and put it in place whole.

    Raises:
        CannotBeMadeError: no compiler, or headers that do not fit.
    """
    folder = environment.library.parent
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    compiler = ["cc", "-std=gnu11", "-fPIC", "-O2", "-w", "-I", folder]
    compiler += [f"-I{include}" for include in include_folders(environment)]
    _write_names(folder, [])
    objects = []
    for source in sorted(SOURCES.glob("*.c")):
        objects.append(folder / f"{source.stem}.o")
        succeed([*compiler, "-c", source, "-o", objects[-1]])
    defined = _defined(objects)
    stubs = sorted((_imported(environment) | _of_the_driver(environment) | {*LOOKED_UP}) - defined - {*OF_THE_REAL_ONE})
    (folder / "stubs.c").write_text("".join(f"int {name}(void) {{ return 0; }}\n" for name in stubs))
    _write_names(folder, [*stubs, *(name for name in defined if re.match("cu|nccl|__cuda", name))])
    # The names are known only now.
    succeed([*compiler, "-c", SOURCES / "lookup.c", "-o", folder / "lookup.o"])
    aside = folder / "aside.so"
    linked = [*objects, folder / "stubs.c", f"-Wl,-soname,{environment.library.name}", "-ldl", "-lpthread"]
    succeed([*compiler, "-shared", "-o", aside, *linked])
    aside.replace(environment.library)
    # Triton links what it compiles against a library of this name.
    (folder / "libcuda.so").symlink_to(environment.library.name)


def _write_names(folder: Path, names: Iterable[str]) -> None:
    # By bytes, as strcmp compares.
    lines = "".join(f'  "{name}",\n' for name in sorted({"", *names}))
    (folder / "names.h").write_text(f"static const char* const names[] = {{\n{lines}}};\n")


def _imported(environment: Environment) -> set[str]:
    libraries = [environment.site_packages / name for name in IMPORTERS]
    found = succeed(["nm", "-D", "--undefined-only", *(path for path in libraries if path.is_file())])
    names = (line.split()[-1].partition("@")[0] for line in found.splitlines() if len(line.split()) > 1)
    return {name for name in names if OF_NVIDIA.fullmatch(name)}


def _of_the_driver(environment: Environment) -> set[str]:
    """Every function that the driver's header has, also under the versions of its name."""
    [header] = [folder / "cuda.h" for folder in include_folders(environment) if (folder / "cuda.h").is_file()][:1]
    text = header.read_text(errors="replace")
    return {*re.findall(r"\b(cu[A-Z]\w*)\s*\(", text), *re.findall(r"\bcu[A-Z][A-Za-z0-9]*_v[0-9]+", text)}


def _defined(objects: Iterable[Path]) -> set[str]:
    lines = succeed(["nm", "--defined-only", *objects]).splitlines()
    return {words[2] for words in map(str.split, lines) if len(words) == 3 and words[1] == "T"}
