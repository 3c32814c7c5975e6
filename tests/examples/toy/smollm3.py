"""A toy: SmolLM3's decoder without rotary embeddings in any layer, whose embedding is its head."""

from __future__ import annotations

from typing import Any

from custom_modules.architecture.interface import Architecture, HuggingFace
from custom_modules.architecture.parts import HF_SHAPE, attention, embedding, final_norm, gated_mlp
from custom_modules.architecture.weights import ModelShape, Weight


def weights(model: ModelShape) -> tuple[Weight, ...]:
    """Return Danube's weights without the head."""
    return (embedding(model), *attention(model), *gated_mlp(model), final_norm(model))


def fixed(model: ModelShape) -> dict[str, Any]:
    """Return what `SmolLM3ForCausalLM` is here: ``no_rope_layers`` has a 0 for each layer without RoPE."""
    return {
        "hidden_act": "silu",
        "tie_word_embeddings": True,
        "attention_dropout": 0.0,
        "attention_bias": False,
        "mlp_bias": False,
        "use_sliding_window": False,
        "no_rope_layers": [0] * model.num_layers,
    }


SMOLLM3 = Architecture(
    name="smollm3",
    weights=weights,
    choices={
        "position_embedding_type": ("none",),
        "normalization": ("rmsnorm",),
        "activation": ("swiglu",),
        "share_embeddings_and_output_weights": (True,),
    },
    hugging_face=HuggingFace(
        class_name="SmolLM3ForCausalLM",
        model_type="smollm3",
        shape={**HF_SHAPE, "head_dim": "head_dim"},
        fixed=fixed,
        absent=("sliding_window", "quantization_config"),
        written={"pad_token_id": None},
    ),
)
