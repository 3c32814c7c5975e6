"""What the environment has when a command first asks for a GPU; prints one JSON object.

Every command runs in a process that was forked for it, up to the moment at which torch is asked for a GPU, or
Transformer Engine is looked for, and no further.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import torch

from custom_modules.platform import kernels

NAMES = ("CUDA_DEVICE_MAX_CONNECTIONS", "CUBLAS_WORKSPACE_CONFIG", "NVTE_ALLOW_NONDETERMINISTIC_ALGO", "NCCL_ALGO")


def main() -> None:
    """``[[COMMAND, [WORD, ...]], ...]`` is the only argument: of `danube`, or of a module of ``benchmarks``."""
    found = [in_a_fork(partial(start, kind, words)) for kind, words in json.loads(sys.argv[1])]
    print(json.dumps(found))


def start(kind: str, words: list[str]) -> None:
    if kind == "danube":
        from custom_modules.cli import main as danube

        danube(words)
    elif kind == "trial save":
        from custom_modules.cluster.checked_run import checked_run
        from custom_modules.config.load import load_config

        checked_run(load_config(words[0], words[1:])).import_training()
    else:
        sys.argv = [kind, *words]
        runpy.run_module(kind, run_name="__main__")


def in_a_fork(work: Callable[[], None]) -> Any:
    """Return the environment at the first question, or None where nothing is asked."""
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(reading)

        def answer(*_: Any, **__: Any) -> NoReturn:
            os.write(writing, json.dumps({name: os.environ.get(name) for name in NAMES}).encode())
            os._exit(0)

        torch.cuda.is_available = torch.cuda.device_count = torch.cuda.init = answer
        kernels._transformer_engine = answer
        try:
            work()
        finally:
            os._exit(1)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        said = pipe.read()
    os.wait()
    return json.loads(said) if said else None


if __name__ == "__main__":
    main()
