"""What ``trainer.deterministic`` sets: the same bits again, from the same GPUs, software and number of processes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from custom_modules.errors import UserError

CHOICES: dict[str, tuple[str, ...]] = {
    "CUBLAS_WORKSPACE_CONFIG": (":4096:8", ":16:8"),
    "NVTE_ALLOW_NONDETERMINISTIC_ALGO": ("0",),
    "NCCL_ALGO": ("Ring", "CollnetDirect", "CollnetChain", "^NVLS"),
}
"""Values of cuBLAS', Transformer Engine's and NCCL's own variables with which they add up in one order, as Megatron-LM
accepts them for its ``--deterministic-mode``. The first is set where the user has set none."""


def deterministic_environment(env: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that are still to be set.

    Args:
        env: what is set.

    Raises:
        UserError: a variable has another value than one of `CHOICES`.
    """
    for name, choices in CHOICES.items():
        known = {choice.lower() for choice in choices}
        parts = [part.strip() for part in env.get(name, choices[0]).split(",")]
        if any(part.lower() not in known for part in parts):
            raise UserError(
                f"trainer.deterministic=true: {name}={env[name]} in the environment leaves the order of sums open; "
                f"unset it, or set it to {' or '.join(choices)}"
            )
    return {name: choices[0] for name, choices in CHOICES.items() if name not in env}


@contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Have torch and cuDNN take algorithms that give the same bits every time, and refuse those that never do."""
    import torch

    cudnn = torch.backends.cudnn
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    cudnn_before = cudnn.deterministic, cudnn.benchmark
    torch.use_deterministic_algorithms(True)
    cudnn.deterministic, cudnn.benchmark = True, False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        cudnn.deterministic, cudnn.benchmark = cudnn_before
