"""`danube` on the CPU as it runs on a GPU, with Transformer Engine where the fake Transformer Engine can be imported.

Nothing in the program itself allows this: the accelerator that it decides by is replaced from outside. The arguments
are one command or several, with ``then`` between them; they run one after the other in this process. Each connects to
the other processes at a port of its own, of those in ``MASTER_PORTS``.
"""

from __future__ import annotations

import os
import sys

from custom_modules.platform import kernels, megatron


def as_on_a_gpu() -> None:
    """Have the kernels chosen as on a GPU, and let megatron-core find the fake Transformer Engine."""
    megatron.GPU_PACKAGES = ()
    choose = kernels.choose_kernels
    kernels.choose_kernels = lambda config, accelerator, software: choose(config, "gpu", kernels.find_software("gpu"))


def main(arguments: list[str]) -> int:
    from custom_modules.cli import main as danube

    ports = iter(os.environ["MASTER_PORTS"].split())
    while arguments:
        os.environ["MASTER_PORT"] = next(ports)
        end = arguments.index("then") if "then" in arguments else len(arguments)
        if code := danube(arguments[:end]):
            return code
        arguments = arguments[end + 1 :]
    return 0


if __name__ == "__main__":
    as_on_a_gpu()
    sys.exit(main(sys.argv[1:]))
