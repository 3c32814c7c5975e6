"""What precision each linear layer runs in, from the config alone: FP8 in the layers, never in embedding or head."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from custom_modules.architecture.weights import layer_linears

if TYPE_CHECKING:
    from custom_modules.config.schema import AnyModelConfig, TrainingConfig

FORMATS = {"hybrid": ("e4m3", "e5m2"), "e4m3": ("e4m3", "e4m3")}
"""``model.fp8`` -> of inputs and weights, and of gradients."""


@dataclass(frozen=True)
class LinearPrecision:
    """A group of linears, under megatron-core's names."""

    first_layer: int | None
    """Counted from 0; None outside the layers."""
    last_layer: int | None
    """Included."""
    linears: tuple[str, ...]
    precision: str
    """fp8, bf16 or fp32: what is multiplied. Results and weights are in bf16 under FP8."""
    forward: str | None = None
    """FP8's format of inputs and weights."""
    backward: str | None = None
    """FP8's format of gradients."""
    recipe: str | None = None
    """Where FP8's scales come from."""

    @property
    def names(self) -> Iterator[str]:
        """Every linear of the group, as in ``GPTModel.named_modules`` of a single pipeline rank."""
        if self.first_layer is None or self.last_layer is None:
            yield from self.linears
            return
        for layer in range(self.first_layer, self.last_layer + 1):
            yield from (f"decoder.layers.{layer}.{linear}" for linear in self.linears)


def linear_precisions(config: TrainingConfig) -> tuple[LinearPrecision, ...]:
    """Every linear of the model, in the order it is built."""
    model = config.model
    plain = "bf16" if config.trainer.precision == "bf16-mixed" else "fp32"
    linears = layer_linears(model.weights)
    rows = [LinearPrecision(None, None, ("embedding.word_embeddings",), plain)]
    for first, last, is_fp8 in _layers(model):
        if is_fp8 and model.fp8:
            formats = FORMATS[model.fp8]
            may = {weight.module: weight.may_run_in_fp8 for weight in model.weights if len(weight.dimensions) == 2}
            in_fp8 = tuple(linear for linear in linears if may[linear])
            rows.append(LinearPrecision(first, last, in_fp8, "fp8", *formats, model.fp8_recipe))
            if others := tuple(linear for linear in linears if not may[linear]):
                rows.append(LinearPrecision(first, last, others, plain))
        else:
            rows.append(LinearPrecision(first, last, linears, plain))
    return (*rows, LinearPrecision(None, None, ("output_layer",), plain))


def _layers(model: AnyModelConfig) -> Iterator[tuple[int, int, bool]]:
    """First and last layer of each stretch, and whether it is for FP8."""
    start = end = 0
    if model.fp8 and model.first_last_layers_bf16:
        start, end = model.num_layers_at_start_in_bf16, model.num_layers_at_end_in_bf16
    bounds = (0, start, model.num_layers - end, model.num_layers)
    for index, (first, after) in enumerate(pairwise(bounds)):
        if first < after:
            yield first, after - 1, index == 1


def render_precisions(rows: tuple[LinearPrecision, ...]) -> Iterator[str]:
    """A line for each group."""
    yield "Precision of the linears"
    named = [(_place(row), row) for row in rows]
    width = max(len(place) for place, _ in named)
    for place, row in named:
        linears = ", ".join(linear.rsplit(".", 1)[-1] for linear in row.linears)
        yield f"  {place:<{width}}  {linears}: {_words(row)}"


def _place(row: LinearPrecision) -> str:
    if row.first_layer is None:
        return "outside the layers"
    if row.first_layer == row.last_layer:
        return f"layer {row.first_layer}"
    return f"layers {row.first_layer}-{row.last_layer}"


def _words(row: LinearPrecision) -> str:
    if row.precision != "fp8":
        return row.precision
    return f"FP8 ({row.forward}, gradients {row.backward}; {row.recipe} scaling)"
