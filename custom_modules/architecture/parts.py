"""Parts that several architectures are made of, under Hugging Face's usual names."""

from __future__ import annotations

import math
from collections.abc import Iterator

from custom_modules.architecture.weights import LAYERS, Dimension, Join, ModelShape, Role, Weight

HF_LAYER = "model.layers.{layer}."
HF_SHAPE = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "ffn_hidden_size",
    "num_hidden_layers": "num_layers",
    "num_attention_heads": "num_attention_heads",
    "num_key_value_heads": "num_query_groups",
    "rms_norm_eps": "layernorm_epsilon",
}
"""Fields of a Llama-like config.json, and our keys of the same meaning."""


def hidden(model: ModelShape) -> Dimension:
    """Return the features of a token between the layers."""
    return Dimension(model.hidden_size, ("hidden_size",))


def residual_std(model: ModelShape) -> float:
    """Return the standard deviation of the two matrices of a layer that write to the residual stream, as in
    megatron-core."""
    return model.init_method_std / math.sqrt(2.0 * model.num_layers)


def embedding(model: ModelShape) -> Weight:
    """Return the table of the tokens' embeddings."""
    return _vocabulary(model, "embedding.word_embeddings.weight", Role.EMBEDDING, "model.embed_tokens.weight")


def head(model: ModelShape) -> Weight:
    """Return the output layer, where it is not the embedding."""
    return _vocabulary(model, "output_layer.weight", Role.HEAD, "lm_head.weight")


def final_norm(model: ModelShape) -> Weight:
    """Return the norm before the head."""
    parts = {"model.norm.weight": (model.hidden_size,)}
    return Weight("decoder.final_layernorm.weight", (hidden(model),), Role.FINAL_NORM, parts)


def attention(model: ModelShape) -> Iterator[Weight]:
    """Yield the norm and the two projections of grouped-query attention, without bias."""
    heads, groups, dim = model.num_attention_heads, model.num_query_groups, model.head_dim
    queries = Dimension(heads * dim, ("num_attention_heads",), dim)
    keys = groups * dim
    attention = f"{HF_LAYER}self_attn."
    yield _layer_norm(model, "self_attention.linear_qkv", "input_layernorm")
    yield Weight(
        f"{LAYERS}self_attention.linear_qkv.weight",
        (
            Dimension(
                queries.size + 2 * keys,
                ("num_attention_heads", "num_query_groups"),
                dim,
                "the rows of queries, keys and values",
            ),
            hidden(model),
        ),
        Role.ATTENTION,
        {
            f"{attention}q_proj.weight": (queries.size, model.hidden_size),
            f"{attention}k_proj.weight": (keys, model.hidden_size),
            f"{attention}v_proj.weight": (keys, model.hidden_size),
        },
        Join.QUERY_GROUPS,
        tensor_axis=0,
        initial_std=model.init_method_std,
        may_run_in_fp8=True,
    )
    yield Weight(
        f"{LAYERS}self_attention.linear_proj.weight",
        (hidden(model), queries),
        Role.ATTENTION,
        {f"{attention}o_proj.weight": (model.hidden_size, queries.size)},
        tensor_axis=1,
        initial_std=residual_std(model),
        may_run_in_fp8=True,
    )


def gated_mlp(model: ModelShape) -> Iterator[Weight]:
    """Yield the norm and the matrices of an MLP whose input has a gate, without bias."""
    ffn, mlp = model.ffn_hidden_size, f"{HF_LAYER}mlp."
    yield _layer_norm(model, "mlp.linear_fc1", "post_attention_layernorm")
    yield Weight(
        f"{LAYERS}mlp.linear_fc1.weight",
        (Dimension(2 * ffn, ("ffn_hidden_size",), 2, "model.ffn_hidden_size, twice"), hidden(model)),
        Role.MLP,
        {f"{mlp}gate_proj.weight": (ffn, model.hidden_size), f"{mlp}up_proj.weight": (ffn, model.hidden_size)},
        Join.STACKED,
        tensor_axis=0,
        initial_std=model.init_method_std,
        may_run_in_fp8=True,
    )
    yield Weight(
        f"{LAYERS}mlp.linear_fc2.weight",
        (hidden(model), Dimension(ffn, ("ffn_hidden_size",))),
        Role.MLP,
        {f"{mlp}down_proj.weight": (model.hidden_size, ffn)},
        tensor_axis=1,
        initial_std=residual_std(model),
        may_run_in_fp8=True,
    )


def _layer_norm(model: ModelShape, linear: str, hf_name: str) -> Weight:
    """Return the norm before a linear of a layer, which stores it."""
    parts = {f"{HF_LAYER}{hf_name}.weight": (model.hidden_size,)}
    return Weight(f"{LAYERS}{linear}.layer_norm_weight", (hidden(model),), Role.LAYER_NORM, parts)


def _vocabulary(model: ModelShape, name: str, role: Role, hf_name: str) -> Weight:
    return Weight(
        name,
        (Dimension(model.vocab_size, ("vocab_size",), name="the padded vocabulary"), hidden(model)),
        role,
        {hf_name: (model.vocab_size, model.hidden_size)},
        tensor_axis=0,
        initial_std=model.init_method_std,
        padded_rows=model.padded_vocab_size,
    )
