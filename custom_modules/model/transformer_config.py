"""Our config -> megatron-core's ``TransformerConfig``."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.transformer_config import TransformerConfig

from custom_modules.config.precision import DELAYED_SCALING
from custom_modules.config.schema import TrainingConfig
from custom_modules.platform.kernels import LOCAL, Kernels

POSITION_EMBEDDINGS = {"rope": "rope", "none": "none", "alibi": "none"}
"""``model.position_embedding_type`` -> megatron-core's, which has no ALiBi: that is in the core attention."""

NORMALIZATIONS = {"rmsnorm": "RMSNorm"}
"""``model.normalization`` -> megatron-core's name."""

ACTIVATIONS: dict[str, dict[str, Any]] = {"swiglu": {"gated_linear_unit": True, "activation_func": F.silu}}
"""``model.activation`` -> megatron-core's settings."""


def transformer_config(config: TrainingConfig, kernels: Kernels = LOCAL) -> TransformerConfig:
    """The model that the config describes, with what the platform needs beside it.

    Fusions follow from the kernels. Two of megatron-core's are never on: ``persist_layer_norm`` is of Apex's LayerNorm
    alone, and ``masked_softmax_fusion`` of an attention that keeps its scores.
    Parameters are created on the CPU and drawn by `initialize`, so their values depend on the seed alone. Still
    megatron-core's initialisation runs, with nothing to draw: it is what marks a parameter as tensor-parallel, and
    without the mark clipping would count one rank's gradients only.
    """
    model = config.model
    bf16 = config.trainer.precision == "bf16-mixed"
    dtype = torch.bfloat16 if bf16 else torch.float32
    given = {key: getattr(model, key) for key in DELAYED_SCALING}
    scaling = {key: default if given[key] is None else given[key] for key, default in DELAYED_SCALING.items()}
    overlap_p2p = model.overlap_p2p_comm and model.virtual_pipeline_model_parallel_size is not None
    window = (model.sliding_window - 1, 0) if model.sliding_window else None
    return TransformerConfig(
        num_layers=model.num_layers,
        hidden_size=model.hidden_size,
        ffn_hidden_size=model.ffn_hidden_size,
        num_attention_heads=model.num_attention_heads,
        num_query_groups=model.num_query_groups,
        kv_channels=model.head_dim,
        normalization=NORMALIZATIONS[model.normalization],
        layernorm_epsilon=model.layernorm_epsilon,
        **ACTIVATIONS[model.activation],
        add_bias_linear=False,
        hidden_dropout=0.0,
        attention_dropout=0.0,
        window_size=window,
        init_method=_leave,
        output_layer_init_method=_leave,
        embedding_init_method=_leave,
        use_cpu_initialization=True,
        bf16=bf16,
        params_dtype=dtype,
        pipeline_dtype=dtype,
        tensor_model_parallel_size=model.tensor_model_parallel_size,
        pipeline_model_parallel_size=model.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=model.virtual_pipeline_model_parallel_size,
        sequence_parallel=model.sequence_parallel,
        context_parallel_size=model.context_parallel_size,
        cp_comm_type=model.cp_comm_type,
        overlap_p2p_comm=overlap_p2p,
        batch_p2p_comm=not overlap_p2p,
        fp8=model.fp8,
        fp8_recipe=model.fp8_recipe,
        **scaling,
        first_last_layers_bf16=model.first_last_layers_bf16,
        num_layers_at_start_in_bf16=model.num_layers_at_start_in_bf16,
        num_layers_at_end_in_bf16=model.num_layers_at_end_in_bf16,
        transformer_impl="transformer_engine" if kernels.transformer_engine else "local",
        gradient_accumulation_fusion=kernels.gradient_accumulation_fusion and not model.fsdp,
        bias_activation_fusion=kernels.fused_elementwise,
        bias_dropout_fusion=kernels.fused_elementwise,
        masked_softmax_fusion=False,
        persist_layer_norm=False,
        # The fused kernel has one row of angles for all sequences.
        apply_rope_fusion=kernels.transformer_engine and not config.restarts_positions,
        deallocate_pipeline_outputs=False,
        calculate_per_token_loss=True,
        deterministic_mode=config.trainer.deterministic,
    )


def _leave(tensor: torch.Tensor) -> torch.Tensor:
    return tensor
