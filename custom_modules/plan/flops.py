"""Model FLOPs of training, and the peaks they are measured against.

The convention, everywhere in this project: a multiply-add is 2 FLOPs; the backward pass costs twice the forward pass;
every matrix parameter counts 6 FLOPs per token, ``lm_head`` included, the embedding, the norms and the padding of the
vocabulary not; attention counts the query-key pairs that the causal mask, the sliding window and documents' ends leave,
and no others. `custom_modules.plan.seen` knows what documents leave; where nobody asks it, all see each other.
What a kernel computes twice or for nothing is not counted, nor what the backward pass recomputes, nor the passes that
choose among teachers' texts, which the plan adds by themselves: these are the FLOPs of MFU. Peaks are dense bf16 ones,
also for a run in FP8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from custom_modules.config.schema import AnyModelConfig, TrainingConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import StageStreams
from custom_modules.plan.parameters import attention_width, count_parameters


@dataclass(frozen=True)
class Gpu:
    """A device of the peak table."""

    name: str
    peak_flops: float
    """Dense bf16, FLOP/s."""
    memory_bytes: int
    """What the driver leaves to programs, about 1 GiB below what is printed on the box."""
    has_fp8: bool = True


Pairs = Mapping[str, float]
"""The query-key pairs that attention sees in a sequence of a stage, by its name; of others `visible_pairs`."""

ALL_SEEN: Pairs = MappingProxyType({})
"""Nothing but the causal mask and the window hides a key."""

_GIB = 2**30
_GPUS: tuple[tuple[frozenset[str], Gpu], ...] = (
    (frozenset({"H100", "PCIE"}), Gpu("H100 PCIe", 756.5e12, 79 * _GIB)),
    (frozenset({"H100", "NVL"}), Gpu("H100 NVL", 835.5e12, 93 * _GIB)),
    (frozenset({"H100"}), Gpu("H100 SXM", 989.4e12, 79 * _GIB)),
    (frozenset({"H200", "NVL"}), Gpu("H200 NVL", 835.5e12, 139 * _GIB)),
    (frozenset({"H200"}), Gpu("H200 SXM", 989.4e12, 139 * _GIB)),
    (frozenset({"H20"}), Gpu("H20", 148e12, 95 * _GIB)),
    (frozenset({"B200"}), Gpu("B200", 2250e12, 178 * _GIB)),
    (frozenset({"A100", "40GB"}), Gpu("A100 40GB", 312e12, 39 * _GIB, has_fp8=False)),
    (frozenset({"A100"}), Gpu("A100 80GB", 312e12, 79 * _GIB, has_fp8=False)),
)
"""Words that a device's name must contain, the more specific entry first. Where NVIDIA's data sheet gives the peak with
sparsity, it is half of that: H100 SXM and H200 SXM 1,979, PCIe 1,513, NVL 1,671; HGX B200 36 PFLOP/s for eight."""


def known_gpus() -> list[str]:
    return [gpu.name for _, gpu in _GPUS]


def find_gpu(device_name: str) -> Gpu | None:
    """The device by any usual name: ``H100``, ``h100-sxm``, ``NVIDIA H100 80GB HBM3``. None for a MIG slice."""
    words = set(re.split(r"[^A-Z0-9]+", device_name.upper()))
    if "MIG" in words:
        return None
    return next((gpu for needed, gpu in _GPUS if needed <= words), None)


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 peak in FLOP/s of a device as ``torch.cuda.get_device_name`` names it; None if it is not known."""
    gpu = find_gpu(device_name)
    return gpu.peak_flops if gpu else None


def run_peak_flops(config: TrainingConfig, device_name: str) -> float | None:
    """Return the peak of one device of a run in FLOP/s: ``trainer.peak_tflops``, else `peak_flops`."""
    configured = config.trainer.peak_tflops
    return configured * 1e12 if configured else peak_flops(device_name)


def visible_pairs(seq_length: int, sliding_window: int | None) -> int:
    """Query-key pairs of one sequence: the sum over positions ``i`` of ``min(i + 1, window)``."""
    window = min(sliding_window or seq_length, seq_length)
    return window * (window + 1) // 2 + (seq_length - window) * window


def flops_per_sequence(model: AnyModelConfig, seq_length: int, pairs: float | None = None) -> int:
    """Forward and backward FLOPs of one sequence, exactly.

    Args:
        pairs: the query-key pairs that attention sees in it; None: `visible_pairs`.
    """
    seen = visible_pairs(seq_length, model.sliding_window) if pairs is None else pairs
    return _flops_with_pairs(model, seq_length, seen)


def flops_of_whole_squares(model: AnyModelConfig, seq_length: int) -> int:
    """Forward and backward FLOPs of one sequence as others count them, Megatron-LM among them: attention over the whole
    s x s of queries and keys, whatever mask and window leave of it. No MFU here is of these."""
    return _flops_with_pairs(model, seq_length, seq_length**2)


def _flops_with_pairs(model: AnyModelConfig, seq_length: int, pairs: float) -> int:
    query_width, _ = attention_width(model)
    return 6 * count_parameters(model).matmul * seq_length + round(12 * model.num_layers * query_width * pairs)


def flops_per_token(config: TrainingConfig, seq_length: int, pairs: float | None = None) -> float:
    """Forward and backward FLOPs of a token, on average over a sequence of ``seq_length`` tokens.

    Args:
        pairs: as `flops_per_sequence` has them.
    """
    return flops_per_sequence(config.model, seq_length, pairs) / seq_length


def total_flops(config: TrainingConfig, pairs: Pairs = ALL_SEEN) -> int:
    """Forward and backward FLOPs of the whole curriculum, exactly; teachers' texts are not among them."""
    return sum(
        stage.num_samples * flops_per_sequence(config.model, stage.seq_length, pairs.get(stage.name))
        for stage in Curriculum.from_config(config).stages
    )


def passes_over_texts(config: TrainingConfig) -> int:
    """Return the forward passes without gradient of a distilled sequence, which find the text that it is trained on:
    one of the ground truth and one of each teacher's text; 0 where no teacher has texts."""
    texts = len(config.teaching.texts) if config.teaching else 0
    return 1 + texts if texts else 0


def scoring_flops(config: TrainingConfig, stage: Stage) -> int:
    """FLOPs of a stage's `passes_over_texts`, beside those of training; padding counts as tokens do."""
    passes, every = passes_over_texts(config), config.teaching.every_n_batches if config.teaching else None
    if not passes or every is None:
        return 0
    sequences = StageStreams(stage, every).distilled_samples
    return sequences * passes * flops_per_sequence(config.model, stage.seq_length) // 3


def flops_with_scoring(config: TrainingConfig, pairs: Pairs = ALL_SEEN) -> int:
    """FLOPs of the whole curriculum, with those of `scoring_flops`: what a run takes its time for."""
    stages = Curriculum.from_config(config).stages
    return total_flops(config, pairs) + sum(scoring_flops(config, stage) for stage in stages)
