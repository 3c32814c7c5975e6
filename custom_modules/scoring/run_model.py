"""A run's own model, through the schedule that trains it: any tensor, pipeline and data parallelism."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import tee
from typing import Any

import numpy as np
import torch
from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.model.asked import Asked
from custom_modules.model.branches import Branches
from custom_modules.platform import Platform
from custom_modules.platform.megatron_versions import batch_on_this_cp_rank
from custom_modules.platform.rank_0 import from_every_rank, on_rank_0
from custom_modules.scoring.batch import Batch
from custom_modules.scoring.passes import Ranks
from custom_modules.scoring.shapes import CPU, CPU_SHARED, GPU, Shapes

Outcome = tuple[Tensor, Tensor, Tensor]
"""What megatron-core's schedules take: a loss, the tokens that count, and what they return."""


class RunModel:
    """This rank's chunks of a model, such as training has them.

    Log-probabilities are computed where the labels' losses are, in fp32: no logits leave their rank. Weights, moments,
    clock and random numbers stay as they are; the models are left in evaluation mode.

    Args:
        models: as the schedules take them, one or several of them wrapped.
        platform: where they are, already running.
        max_length: tokens that the model reads at most.
        group: virtual pipeline stages want so many micro-batches, or a multiple.

    Needs `Platform.running`.
    """

    def __init__(self, models: Sequence[Any], platform: Platform, max_length: int, group: int = 1) -> None:
        self.max_length = max_length
        self.shapes = shapes_here(platform)
        self._models, self._device, self._group = list(models), platform.device, group

    @torch.no_grad()
    def log_probabilities(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Return what each batch asks, on the last pipeline stage; nothing on the others. Collective."""
        for model in self._models:
            model.eval()
        padded = [*batches, *[batches[-1]] * (-len(batches) % self._group)]
        iterators: Any = map(self._here, padded)
        if len(self._models) > 1:
            iterators = list(tee(iterators, len(self._models)))
        rows, length = batches[0].shape
        found: list[Tensor] = get_forward_backward_func()(
            forward_step_func=_forward_step,
            data_iterator=iterators,
            model=self._models,
            num_microbatches=len(padded),
            seq_length=length,
            micro_batch_size=rows,
            forward_only=True,
        )
        return [output.cpu().numpy() for output in found[: len(batches)]]

    def _here(self, batch: Batch) -> dict[str, Any]:
        """Return a batch on the device, this context-parallel rank's part of its sequences."""
        rows, length = batch.shape
        positions = torch.arange(length).expand(rows, -1)
        whole = {"tokens": torch.from_numpy(batch.tokens), "position_ids": positions}
        here: dict[str, Any] = {name: tensor.to(self._device) for name, tensor in batch_on_this_cp_rank(whole).items()}
        asked, at, of = (torch.from_numpy(part).to(self._device) for part in (batch.asked, batch.positions, batch.rows))
        if batch.places is not None:
            places = torch.from_numpy(batch.places).to(self._device)
            here |= {"position_ids": places[None], "packed_seq_params": Branches(batch.segments, places)}
        return {**here, "labels": Asked(of, at, asked, length, batch.at_once)}


def shapes_here(platform: Platform) -> Shapes:
    """Return the shapes of passes, whose lengths the ranks that share a sequence can divide among them.

    Texts share their beginnings where the local layers compute on a CPU, and every rank has whole sequences.
    """
    context_parallel = parallel_state.get_context_parallel_world_size()
    on_cpu = CPU if context_parallel > 1 or platform.kernels.transformer_engine else CPU_SHARED
    parts = 2 * context_parallel * parallel_state.get_tensor_model_parallel_world_size()
    return (GPU if platform.device.type == "cuda" else on_cpu).in_multiples_of(parts)


def data_parallel_ranks() -> Ranks:
    """Return how passes are dealt out: to each data-parallel rank its own."""
    number, count = parallel_state.get_data_parallel_rank(), parallel_state.get_data_parallel_world_size()
    return Ranks(number, count, from_every_rank, on_rank_0)


def _forward_step(batches: Iterator[dict[str, Any]], model: Any) -> tuple[Tensor, Callable[[Tensor], Outcome]]:
    batch = next(batches)
    named = {"labels": batch["labels"], "packed_seq_params": batch.get("packed_seq_params")}
    return model(batch["tokens"], batch["position_ids"], None, **named), _outcome


def _outcome(output: Tensor) -> Outcome:
    return output.sum(), torch.ones((), dtype=torch.int32, device=output.device), output.float()
