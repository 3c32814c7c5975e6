"""Config -> megatron-core's ``GPTModel``."""

from __future__ import annotations

from megatron.core import parallel_state
from megatron.core.extensions.transformer_engine import TEDotProductAttention, TENorm
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn import Module

from custom_modules.config.schema import Config
from custom_modules.curriculum.stages import Curriculum
from custom_modules.model.attention import SlidingWindowAttention
from custom_modules.model.initialize import initialize
from custom_modules.model.transformer_config import transformer_config
from custom_modules.platform.kernels import LOCAL, Kernels


def core_attention(kernels: Kernels) -> type[Module]:
    """The core attention of every layer; both take the window from ``TransformerConfig.window_size``."""
    return TEDotProductAttention if kernels.transformer_engine else SlidingWindowAttention


def block_spec(transformer: TransformerConfig, kernels: Kernels) -> TransformerBlockSubmodules:
    """Transformer Engine's layers, or megatron-core's local ones.

    The last norm is named too: left to itself, megatron-core takes Apex's wherever anything named apex can be imported,
    and that one knows no RMSNorm.
    """
    if kernels.transformer_engine:
        layer, last_norm = get_gpt_layer_with_transformer_engine_spec(), TENorm
    else:
        layer, last_norm = get_gpt_layer_local_spec(normalization="RMSNorm"), WrappedTorchNorm
    layer.submodules.self_attention.submodules.core_attention = core_attention(kernels)
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(transformer), layer_norm=last_norm)


def build_model(config: Config, initial_weights: bool = True, kernels: Kernels = LOCAL) -> GPTModel:
    """This rank's part of the model, on the CPU or the default device.

    Needs megatron-core's ``parallel_state`` (`custom_modules.platform.Platform.start`).

    Args:
        initial_weights: False leaves the matrices as allocated, for weights that are loaded next or the meta device.
        kernels: what computes it; the weights and their names in a checkpoint are the same.
    """
    transformer = transformer_config(config, kernels)
    model = GPTModel(
        config=transformer,
        transformer_layer_spec=block_spec(transformer, kernels),
        vocab_size=config.model.padded_vocab_size,
        max_sequence_length=Curriculum.from_config(config).max_seq_length,
        pre_process=parallel_state.is_pipeline_first_stage(),
        post_process=parallel_state.is_pipeline_last_stage(),
        position_embedding_type="rope",
        rotary_base=config.model.rotary_base,
        share_embeddings_and_output_weights=False,
        parallel_output=True,
    )
    if initial_weights:
        initialize(model, config.model)
    return model


def fuse_weight_gradients(model: Module) -> None:
    """Have Transformer Engine's linears add their weights' gradients to megatron-core's fp32 ``main_grad`` themselves.

    ``TransformerConfig.gradient_accumulation_fusion`` would ask the same of the head, which needs Apex for it. Only for
    a model inside megatron-core's ``DistributedDataParallel``, which allocates ``main_grad``.
    """
    for module in model.modules():
        if hasattr(module, "fuse_wgrad_accumulation"):
            module.fuse_wgrad_accumulation = True  # type: ignore[assignment]
