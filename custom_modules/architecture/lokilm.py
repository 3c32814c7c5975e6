"""LokiLM (technical report, section 2.1): the weights of Danube, ALiBi in the place of rotary embeddings, no window."""

from __future__ import annotations

from typing import Any

from custom_modules.architecture.danube import weights
from custom_modules.architecture.interface import Architecture, HuggingFace
from custom_modules.architecture.parts import HF_SHAPE
from custom_modules.architecture.weights import ModelShape


def fixed(model: ModelShape) -> dict[str, Any]:
    """Return what `AlibiLlamaForCausalLM` is here, whatever the numbers."""
    return {"hidden_act": "silu", "tie_word_embeddings": False, "attention_dropout": 0.0}


LOKILM = Architecture(
    name="lokilm",
    weights=weights,
    choices={
        "position_embedding_type": ("alibi",),
        "normalization": ("rmsnorm",),
        "activation": ("swiglu",),
        "share_embeddings_and_output_weights": (False,),
    },
    aliases={("activation", "fast-swiglu"): "swiglu"},
    # RMSNorm, SwiGLU, no bias, and ALiBi with a largest bias of 8; as `baichuan` it would load, and be another model.
    gguf_architecture="refact",
    hugging_face=HuggingFace(
        class_name="AlibiLlamaForCausalLM",
        model_type="alibi_llama",
        shape={**HF_SHAPE, "head_dim": "head_dim"},
        fixed=fixed,
        absent=(
            *("rope_parameters", "rope_theta", "rope_scaling", "sliding_window", "attention_bias", "mlp_bias"),
            "quantization_config",
        ),
        module="modeling_alibi_llama",
        config_class="AlibiLlamaConfig",
    ),
)
