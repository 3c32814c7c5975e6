"""H2O-Danube (technical report, section 3): Llama 2's decoder with Mistral's sliding window."""

from __future__ import annotations

from typing import Any

from custom_modules.architecture.interface import Architecture, HuggingFace
from custom_modules.architecture.parts import HF_SHAPE, attention, embedding, final_norm, gated_mlp, head
from custom_modules.architecture.weights import ModelShape, Weight


def weights(model: ModelShape) -> tuple[Weight, ...]:
    """Return those of grouped-query attention and a gated MLP with a norm before each, and of untied embeddings,
    without bias."""
    return (embedding(model), *attention(model), *gated_mlp(model), final_norm(model), head(model))


def fixed(model: ModelShape) -> dict[str, Any]:
    """Return what `MistralForCausalLM` is here, whatever the numbers."""
    return {"hidden_act": "silu", "tie_word_embeddings": False, "attention_dropout": 0.0}


def _fixed_as_llama(model: ModelShape) -> dict[str, Any]:
    return {**fixed(model), "attention_bias": False, "mlp_bias": False}


_LLAMA = HuggingFace(
    class_name="LlamaForCausalLM",
    model_type="llama",
    shape={**HF_SHAPE, "head_dim": "head_dim"},
    fixed=_fixed_as_llama,
    absent=("sliding_window", "quantization_config"),
)

DANUBE = Architecture(
    name="danube",
    weights=weights,
    choices={
        "position_embedding_type": ("rope",),
        "normalization": ("rmsnorm",),
        "activation": ("swiglu",),
        "share_embeddings_and_output_weights": (False,),
    },
    aliases={("activation", "fast-swiglu"): "swiglu"},
    has_window=True,
    hugging_face=HuggingFace(
        class_name="MistralForCausalLM",
        model_type="mistral",
        shape={**HF_SHAPE, "head_dim": "head_dim", "sliding_window": "sliding_window"},
        fixed=fixed,
        absent=("attention_bias", "mlp_bias", "quantization_config"),
        alike=(_LLAMA,),
    ),
)
