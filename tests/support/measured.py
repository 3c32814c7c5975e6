"""What tensors take, measured: every storage that lives, and the most there were at once."""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial
from itertools import accumulate
from typing import Any
from unittest import mock

import torch
from megatron.core import parallel_state, tensor_parallel
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig
from megatron.core.pipeline_parallel import get_forward_backward_func
from megatron.core.transformer.module import Float16Module
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.documents import CU_SEQLENS
from custom_modules.model import alibi, windowed_attention
from custom_modules.model.build import build_model
from custom_modules.model.recompute import set_recompute
from custom_modules.platform.cpu_adapter import cuda_names_on_cpu
from custom_modules.training.forward_step import forward_step


class LiveStorages(TorchDispatchMode):
    """Bytes of the storages that operators made while it was open, each as long as anything refers to it."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = self.peak = 0
        self._sizes: dict[int, int] = {}
        self._references: dict[int, Any] = {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor):
                self._add(tensor.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key not in self._sizes:
            self._references[key] = weakref.ref(storage, functools.partial(self._remove, key))
        self.bytes += storage.nbytes() - self._sizes.get(key, 0)
        self._sizes[key] = storage.nbytes()
        self.peak = max(self.peak, self.bytes)

    def _remove(self, key: int, _: object) -> None:
        self.bytes -= self._sizes.pop(key)
        del self._references[key]


def activation_peak(config: Config, stage: Stage, rank: int = 0) -> int:
    """Bytes beside weights and gradients at the fullest moment of a step's forward and backward passes on one rank.

    megatron-core's own model, DDP and schedule, on tensors without contents: a process of any size of world can be any
    rank of it, and a model of any size needs no memory.
    """
    documents = _documents(stage) if config.separates_documents else None
    fakes = nullcontext() if documents is not None else FakeTensorMode(allow_non_fake_inputs=True)
    with _fake_world(config, rank), fakes, LiveStorages() as live:
        _forget_masks()
        model = build_model(config, initial_weights=False)
        set_recompute(model, stage.recompute)
        inner = Float16Module(model.config, model) if model.config.bf16 else model
        ddp = DistributedDataParallel(model.config, DistributedDataParallelConfig(grad_reduce_in_fp32=True), inner)
        before = live.peak = live.bytes
        get_forward_backward_func()(
            forward_step_func=partial(forward_step, from_logits=False, outcome=_outcome, fused=False),
            data_iterator=_batches(config, stage, documents),
            model=[ddp],
            num_microbatches=stage.num_microbatches,
            seq_length=stage.seq_length * (stage.micro_batch_size if documents is not None else 1),
            micro_batch_size=1 if documents is not None else stage.micro_batch_size,
            forward_only=False,
        )
        peak = live.peak - before
    _forget_masks()
    return peak


def _forget_masks() -> None:
    """Drop what attention keeps for all layers: tensors without contents are of one measurement alone."""
    windowed_attention._bias.cache_clear()
    alibi._biases.clear()
    alibi.query_features.cache_clear()
    alibi.key_features.cache_clear()


def _documents(stage: Stage) -> Tensor:
    """Return where the documents of a micro-batch begin, with contents: its first row has many lengths of them, another
    row is one."""
    rows = range(0, stage.micro_batch_size * stage.seq_length, stage.seq_length)
    begins = [begin for begin in accumulate(range(0, 800, 13)) if begin < stage.seq_length]
    return torch.tensor([*begins, *rows[1:], rows.stop], dtype=torch.int32)


def _batches(config: Config, stage: Stage, documents: Tensor | None) -> Iterator[dict[str, Tensor]]:
    shape = stage.micro_batch_size, stage.seq_length // config.model.context_parallel_size
    while True:
        batch = {name: torch.zeros(shape, dtype=torch.int64) for name in ("tokens", "position_ids", "labels")}
        if config.distillation and config.distillation.distributions:
            rows = *shape, len(config.distillation.distributions), config.distillation.top_k
            batch["teacher_ids"] = torch.zeros(rows, dtype=torch.int32)
            batch["teacher_probabilities"] = torch.zeros(rows)
        yield batch if documents is None else {**batch, CU_SEQLENS: documents}


def _outcome(losses: Tensor, batch: dict[str, Tensor]) -> Any:
    return losses.mean(), {}


@contextmanager
def _fake_world(config: Config, rank: int) -> Iterator[None]:
    """megatron-core's groups over processes that are not there."""
    model, new_group = config.model, torch.distributed.new_group
    with cuda_names_on_cpu(), mock.patch.object(torch.nn.Module, "_apply", _apply_to_fakes):
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=rank, world_size=config.trainer.world_size)
        with mock.patch.object(torch.distributed, "new_group", lambda *a, **k: new_group(*a, **{**k, "backend": None})):
            parallel_state.initialize_model_parallel(
                tensor_model_parallel_size=model.tensor_model_parallel_size,
                pipeline_model_parallel_size=model.pipeline_model_parallel_size,
                context_parallel_size=model.context_parallel_size,
            )
        tensor_parallel.model_parallel_cuda_manual_seed(1, force_reset_rng=True)
        tracker = type(tensor_parallel.get_cuda_rng_tracker())
        try:
            # Dropout's, which is off; a state without contents cannot be set.
            with mock.patch.object(tracker, "fork", lambda *_: nullcontext()):
                yield
        finally:
            parallel_state.destroy_model_parallel()
            torch.distributed.destroy_process_group()


def _apply_to_fakes(self: torch.nn.Module, function: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
    """``Module.bfloat16()`` and the like for fake parameters, which torch cannot exchange in place."""
    for child in self.children():
        child._apply(function)
    for name, parameter in self._parameters.items():
        if parameter is not None:
            changed = torch.nn.Parameter(function(parameter.detach()), parameter.requires_grad)
            changed.__dict__.update(parameter.__dict__)
            self._parameters[name] = changed
    return self
