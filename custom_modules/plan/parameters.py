"""Parameter counts from the model's shape: RMSNorm, grouped-query attention, SwiGLU, no bias, untied embeddings."""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.schema import ModelConfig


@dataclass(frozen=True)
class ParameterCounts:
    """Parameters of each part; a layer's parts count one layer."""

    embedding: int
    head: int
    attention: int
    """The query, key, value and output projections of one layer."""
    mlp: int
    """The gate, up and down projections of one layer."""
    layer_norms: int
    """The two norms of one layer."""
    final_norm: int
    num_layers: int

    @property
    def layer_linears(self) -> int:
        return self.attention + self.mlp

    @property
    def layer(self) -> int:
        return self.layer_linears + self.layer_norms

    @property
    def matmul(self) -> int:
        """Parameters that every token is multiplied with: all but the embedding, a look-up, and the norms."""
        return self.num_layers * self.layer_linears + self.head

    @property
    def total(self) -> int:
        return self.embedding + self.head + self.num_layers * self.layer + self.final_norm


def attention_width(model: ModelConfig) -> tuple[int, int]:
    """Features of all query heads, and of all key heads (as many as of all value heads)."""
    return model.num_attention_heads * model.head_dim, model.num_query_groups * model.head_dim


def count_parameters(model: ModelConfig, *, padded: bool = False) -> ParameterCounts:
    """Count exactly.

    Args:
        model: the shape.
        padded: with the rows that round the vocabulary up, as memory and checkpoints hold them.
    """
    hidden, query_width, key_width = model.hidden_size, *attention_width(model)
    rows = model.padded_vocab_size if padded else model.vocab_size
    return ParameterCounts(
        embedding=rows * hidden,
        head=rows * hidden,
        attention=hidden * (query_width + 2 * key_width) + query_width * hidden,
        mlp=3 * hidden * model.ffn_hidden_size,
        layer_norms=2 * hidden,
        final_norm=hidden,
        num_layers=model.num_layers,
    )
