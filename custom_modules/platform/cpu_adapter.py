"""What megatron-core needs to run unmodified where there is no CUDA: its "cuda" names mean the CPU.

megatron-core's DDP, optimizers, clipping and schedules name CUDA in their code. Inside `cuda_names_on_cpu`

- the handful of ``torch.cuda`` functions they call answer for the CPU, and no GPU is available, though there be one:
  torch's own code would give it work, to its stream for copies when a checkpoint is written say;
- tensor factories asked for ``device="cuda"`` or pinned memory build on the CPU, ``Tensor.cuda()`` returns its tensor,
  and ``Tensor.type()`` says ``torch.cuda.FloatTensor`` (megatron-core compares those strings);
- a ``DeviceMesh`` made of a group for "cuda" is one of CPUs.

Nothing else changes: every number is computed by megatron-core's code with torch's CPU kernels. Only these names are
replaced, and not every torch call watched by a ``TorchFunctionMode``: that costs a training step of a small model 5%.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh

CPU = torch.device("cpu")
FACTORIES = (
    "arange",
    "as_tensor",
    "empty",
    "empty_like",
    "full",
    "ones",
    "rand",
    "randint",
    "randn",
    "tensor",
    "zeros",
)


@contextmanager
def cuda_names_on_cpu() -> Iterator[None]:
    """Run megatron-core on the CPU while the context is open; every name is as before when it closes."""
    from megatron.core.tensor_parallel import random as megatron_random

    # The first time, torch notes which factories follow a device in a `with`: these, and not those that stand in here.
    with torch.device("cpu"):
        torch.empty(0)
    replacements: list[tuple[Any, str, Any]] = [
        (torch.cuda, "current_device", lambda: CPU),
        (torch.cuda, "current_stream", lambda device=None: None),
        (torch.cuda, "device_count", lambda: 1),
        (torch.cuda, "is_available", lambda: False),
        (torch.cuda, "synchronize", lambda device=None: None),
        (torch.cuda, "manual_seed", torch.default_generator.manual_seed),
        (torch.cuda, "get_rng_state", lambda device="cuda": torch.get_rng_state()),
        (torch.cuda, "set_rng_state", lambda state, device="cuda": torch.set_rng_state(state)),
        (megatron_random, "_get_cuda_rng_state", lambda *args, **kwargs: torch.get_rng_state()),
        (megatron_random, "_set_cuda_rng_state", lambda state, *args, **kwargs: torch.set_rng_state(state)),
        (DeviceMesh, "from_group", staticmethod(_mesh_on_cpu(DeviceMesh.from_group))),
        (Tensor, "cuda", lambda tensor, *args, **kwargs: tensor),
        (Tensor, "type", _cuda_type(Tensor.type)),
        *((torch, name, _on_cpu(getattr(torch, name))) for name in FACTORIES),
    ]
    with ExitStack() as stack:
        for owner, name, replacement in replacements:
            stack.callback(_restore, owner, name, vars(owner).get(name))
            setattr(owner, name, replacement)
        yield


def _restore(owner: Any, name: str, original: Any) -> None:
    """None: the name was inherited, and is again."""
    if original is None:
        delattr(owner, name)
    else:
        setattr(owner, name, original)


def _on_cpu(factory: Callable[..., Tensor]) -> Callable[..., Tensor]:
    @functools.wraps(factory)
    def build(*args: Any, **kwargs: Any) -> Tensor:
        device = kwargs.get("device")
        if device is not None and torch.device(device).type == "cuda":
            kwargs["device"] = CPU
        kwargs.pop("pin_memory", None)
        return factory(*args, **kwargs)

    return build


def _mesh_on_cpu(from_group: Callable[..., DeviceMesh]) -> Callable[..., DeviceMesh]:
    @functools.wraps(from_group)
    def build(group: Any, device_type: str, *args: Any, **kwargs: Any) -> DeviceMesh:
        return from_group(group, "cpu" if device_type == "cuda" else device_type, *args, **kwargs)

    return build


def _cuda_type(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def tensor_type(tensor: Tensor, *args: Any, **kwargs: Any) -> Any:
        result = original(tensor, *args, **kwargs)
        return result.replace("torch.", "torch.cuda.", 1) if isinstance(result, str) else result

    return tensor_type
