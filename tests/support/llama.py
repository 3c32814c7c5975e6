"""A GPTModel's weights under the names of Llama's and Mistral's classes, mapped by hand."""

from __future__ import annotations

from torch import Tensor

from custom_modules.config.schema import Config


def llama_weights(config: Config, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the state dict of such a class, without the rows that pad the vocabulary."""
    shape = config.model
    heads, groups, dim = shape.num_attention_heads, shape.num_query_groups, shape.head_dim
    state = {
        "model.embed_tokens.weight": weights["embedding.word_embeddings.weight"][: shape.vocab_size],
        "lm_head.weight": weights["output_layer.weight"][: shape.vocab_size],
        "model.norm.weight": weights["decoder.final_layernorm.weight"],
    }
    for layer in range(shape.num_layers):
        ours, theirs = f"decoder.layers.{layer}", f"model.layers.{layer}"
        qkv = weights[f"{ours}.self_attention.linear_qkv.weight"].unflatten(0, (groups, heads // groups + 2, dim))
        gate, up = weights[f"{ours}.mlp.linear_fc1.weight"].chunk(2)
        state |= {
            f"{theirs}.self_attn.q_proj.weight": qkv[:, :-2].flatten(0, 2),
            f"{theirs}.self_attn.k_proj.weight": qkv[:, -2].flatten(0, 1),
            f"{theirs}.self_attn.v_proj.weight": qkv[:, -1].flatten(0, 1),
            f"{theirs}.self_attn.o_proj.weight": weights[f"{ours}.self_attention.linear_proj.weight"],
            f"{theirs}.mlp.gate_proj.weight": gate,
            f"{theirs}.mlp.up_proj.weight": up,
            f"{theirs}.mlp.down_proj.weight": weights[f"{ours}.mlp.linear_fc2.weight"],
            f"{theirs}.input_layernorm.weight": weights[f"{ours}.input_layernorm.weight"],
            f"{theirs}.post_attention_layernorm.weight": weights[f"{ours}.pre_mlp_layernorm.weight"],
        }
    return state
