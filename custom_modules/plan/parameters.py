"""Parameter counts of a model, from its architecture's table of weights."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from custom_modules.architecture.weights import Role
from custom_modules.config.model_parts import ArchitectureConfig


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of each part; a layer's parts count one layer."""

    embedding: int
    head: int
    """0 where the embedding is the head too."""
    attention: int
    """The query, key, value and output projections of one layer."""
    mlp: int
    """The projections of one layer's MLP."""
    layer_norms: int
    """The norms of one layer."""
    layer_fp8: int
    """What of one layer may be multiplied in FP8."""
    final_norm: int
    num_layers: int

    @property
    def layer_linears(self) -> int:
        return self.attention + self.mlp

    @property
    def layer(self) -> int:
        return self.layer_linears + self.layer_norms

    @property
    def output(self) -> int:
        """Parameters of the matrix that makes logits, the embedding's own where that is shared."""
        return self.head or self.embedding

    @property
    def matmul(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding, a look-up, and the norms."""
        return self.num_layers * self.layer_linears + self.output

    @property
    def total(self) -> int:
        return self.embedding + self.head + self.num_layers * self.layer + self.final_norm


def attention_width(model: ArchitectureConfig) -> tuple[int, int]:
    """Features of all query heads, and of all key heads (as many as of all value heads)."""
    return model.num_attention_heads * model.head_dim, model.num_query_groups * model.head_dim


def count_parameters(model: ArchitectureConfig, *, padded: bool = False) -> ParameterCounts:
    """Count exactly.

    Args:
        model: the shape.
        padded: with the rows that round the vocabulary up, as memory and checkpoints hold them.
    """
    counts: Counter[Role] = Counter()
    for weight in model.weights:
        counts[weight.role] += weight.count(padded)
    return ParameterCounts(
        embedding=counts[Role.EMBEDDING],
        head=counts[Role.HEAD],
        attention=counts[Role.ATTENTION],
        mlp=counts[Role.MLP],
        layer_norms=counts[Role.LAYER_NORM],
        layer_fp8=sum(weight.count() for weight in model.weights if weight.may_run_in_fp8),
        final_norm=counts[Role.FINAL_NORM],
        num_layers=model.num_layers,
    )
