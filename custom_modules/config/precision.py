"""Contradictions between the keys of FP8, and shapes that its matrix multiplications do not take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

from custom_modules.config.schema import AnyModelConfig, ModelConfig, TrainingConfig
from custom_modules.config.stage_keys import seq_length_key
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError

_MULTIPLE = 16
"""Both dimensions of every matrix, in Transformer Engine (``autocast``) and megatron-core (``get_fp8_align_size``)."""
_BLOCK = 128
"""Under block scaling: its blocks are 128 x 128 of a weight, 1 x 128 of all else, and none is cut."""

DELAYED_SCALING = {"fp8_margin": 0, "fp8_amax_history_len": 1024, "fp8_amax_compute_algo": "max"}
"""Transformer Engine's own defaults, for keys that are null."""


def fp8_multiple(model: AnyModelConfig) -> int:
    """Return what both dimensions of every matrix in FP8 are multiples of."""
    return _BLOCK if model.fp8_recipe == "blockwise" else _MULTIPLE


def check_gradients(config: TrainingConfig) -> None:
    """Refuse gradients of another precision than the run can have.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    model = config.model
    if model.optim.grad_sync_dtype == "bf16" and config.trainer.precision != "bf16-mixed":
        raise UserError(
            f"model.optim.grad_sync_dtype=bf16: needs trainer.precision=bf16-mixed, not {config.trainer.precision}; "
            "change that, or set model.optim.grad_sync_dtype=fp32"
        )


def check_precision(config: TrainingConfig) -> None:
    """Refuse a model whose numbers could not be of the kinds that its keys say.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    model = config.model
    if model.fp8 is None:
        return
    if config.trainer.precision != "bf16-mixed":
        raise UserError(
            f"model.fp8={model.fp8}: needs trainer.precision=bf16-mixed, not {config.trainer.precision}; "
            "change that, or set model.fp8=null"
        )
    if model.transformer_engine is False:
        raise UserError(
            f"model.fp8={model.fp8}: needs Transformer Engine, and model.transformer_engine=false; set that to auto, "
            "or model.fp8=null"
        )
    _check_recipe(model)
    if model.first_last_layers_bf16:
        _check_bf16_layers(model)
    else:
        _check_no_bf16_layers(model)
    _check_shapes(_of_weights(model), model)


def check_stage_precision(config: TrainingConfig) -> None:
    """Refuse sequences whose micro-batches FP8 cannot multiply.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    if config.model.fp8 is not None:
        _check_shapes(_of_stages(config), config.model)


def _check_recipe(model: AnyModelConfig) -> None:
    for key in DELAYED_SCALING:
        value = getattr(model, key)
        if value is not None and model.fp8_recipe != "delayed":
            raise UserError(
                f"model.{key}={value}: only delayed scaling has one, and model.fp8_recipe={model.fp8_recipe}; set "
                f"model.{key}=null, or model.fp8_recipe=delayed"
            )
    if model.first_last_layers_bf16 and model.fp8_recipe == "delayed":
        raise UserError(
            "model.first_last_layers_bf16=true: delayed scaling reduces its history once for all layers; set "
            "model.fp8_recipe=tensorwise or blockwise, or model.first_last_layers_bf16=false"
        )


def _check_no_bf16_layers(model: AnyModelConfig) -> None:
    """Refuse a number of layers to keep out of FP8, where none is kept out: 0 or 1, as it is by default, ask for "
    "none."""
    for key in ("start", "end"):
        count = getattr(model, f"num_layers_at_{key}_in_bf16")
        if count > 1:
            raise UserError(
                f"model.num_layers_at_{key}_in_bf16={count}: model.first_last_layers_bf16=false, so all layers are in "
                f"FP8; set that to true, or leave model.num_layers_at_{key}_in_bf16 at 1"
            )


def _check_bf16_layers(model: AnyModelConfig) -> None:
    a_rank = model.num_layers // model.pipeline_model_parallel_size
    counts = {key: getattr(model, f"num_layers_at_{key}_in_bf16") for key in ("start", "end")}
    for key, count in counts.items():
        if count > a_rank:
            raise UserError(
                f"model.num_layers_at_{key}_in_bf16={count}: a pipeline rank has {a_rank} layers, and megatron-core "
                f"takes no more; use 0 to {a_rank}"
            )
    if sum(counts.values()) >= model.num_layers:
        raise UserError(
            f"model.num_layers_at_start_in_bf16={counts['start']}: with model.num_layers_at_end_in_bf16="
            f"{counts['end']} no layer of {model.num_layers} is left in FP8; use fewer, or set model.fp8=null"
        )


def _check_shapes(dimensions: Iterable[tuple[str, int, int, int]], model: AnyModelConfig) -> None:
    """Refuse a dimension that FP8 does not take.

    Args:
        dimensions: key, value, the dimension that follows from it on a device, and whose multiples the value may be.
    """
    multiple = fp8_multiple(model)
    taker, other = "FP8", "model.fp8=null"
    if multiple == _BLOCK:
        taker, other = "model.fp8_recipe=blockwise", "model.fp8_recipe=tensorwise"
    for key, value, part, step in dimensions:
        if part % multiple:
            raise UserError(
                f"{key}={value}: makes a matrix of {part} rows or columns on a device, and {taker} takes multiples of "
                f"{multiple}; use a multiple of {step}, or set {other}"
            )


def _of_weights(model: AnyModelConfig) -> Iterator[tuple[str, int, int, int]]:
    """Yield the dimensions of all weights that run in FP8.

    A key that makes several dimensions counts with the smallest, which the others are multiples of.
    """
    tensor = model.tensor_model_parallel_size
    found: dict[str, tuple[int, int]] = {}
    for weight in model.weights:
        for axis, dimension in enumerate(weight.dimensions if weight.may_run_in_fp8 else ()):
            ranks = tensor if axis == weight.tensor_axis else 1
            together = fp8_multiple(model) * ranks
            here = dimension.size // ranks, together // math.gcd(together, dimension.unit)
            found[dimension.key] = min(found.get(dimension.key, here), here)
    for key in sorted(found, key=list(ModelConfig.model_fields).index):
        yield f"model.{key}", getattr(model, key), *found[key]


def _of_stages(config: TrainingConfig) -> Iterator[tuple[str, int, int, int]]:
    """Yield the tokens of every stage's micro-batches."""
    for stage in Curriculum.from_config(config).stages:
        key = seq_length_key(config, stage.name)
        for micro in dict.fromkeys((stage.micro_batch_size, *(phase.micro_batch_size for phase in stage.phases))):
            multiple = fp8_multiple(config.model)
            yield key, stage.seq_length, micro * stage.seq_length, multiple // math.gcd(multiple, micro)
