"""Modules for torch."""

from transformer_engine.pytorch import (
    attention,
    cpu_offload,
    distributed,
    ops,
    optimizers,
    quantization,
    router,
    tensor,
)
from transformer_engine.pytorch.attention import DotProductAttention
from transformer_engine.pytorch.module import GroupedLinear, LayerNorm, LayerNormLinear, Linear, RMSNorm
from transformer_engine.pytorch.quantization import (
    fp8_autocast,
    fp8_model_init,
    is_fp8_available,
    is_fp8_block_scaling_available,
)

__all__ = [
    "DotProductAttention",
    "GroupedLinear",
    "LayerNorm",
    "LayerNormLinear",
    "Linear",
    "RMSNorm",
    "attention",
    "cpu_offload",
    "distributed",
    "fp8_autocast",
    "fp8_model_init",
    "is_fp8_available",
    "is_fp8_block_scaling_available",
    "ops",
    "optimizers",
    "quantization",
    "router",
    "tensor",
]
