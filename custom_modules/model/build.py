"""Config -> megatron-core's model."""

from __future__ import annotations

from functools import partial

from megatron.core import parallel_state
from megatron.core.extensions.transformer_engine import TEDotProductAttention, TENorm
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn import Module

from custom_modules.architecture.alibi import FEATURES
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.model.alibi_attention import AlibiAttention, ContextParallelAlibiAttention
from custom_modules.model.attention import SlidingWindowAttention
from custom_modules.model.chunked_loss import ChunkedLossModel
from custom_modules.model.context_parallel import ContextParallelAttention
from custom_modules.model.initialize import initialize
from custom_modules.model.language_model import LanguageModel
from custom_modules.model.norm import RMSNorm
from custom_modules.model.te_packed_attention import check_packed_attention
from custom_modules.model.transformer_config import POSITION_EMBEDDINGS, transformer_config
from custom_modules.model.vocabulary_padding import hide_padding
from custom_modules.platform.kernels import LOCAL, Kernels


def core_attention(transformer: TransformerConfig, kernels: Kernels, is_alibi: bool) -> type[Module]:
    """The core attention of every layer; each takes the window from ``TransformerConfig.window_size``.

    ALiBi in fp32 is a mask, which Transformer Engine would want of s x s: then its layers have the local attention.
    """
    if _is_transformer_engines(transformer, kernels, is_alibi):
        if not is_alibi:
            return TEDotProductAttention
        from custom_modules.model.te_alibi_attention import TEAlibiAttention

        return TEAlibiAttention
    is_shared = transformer.context_parallel_size > 1
    if is_alibi:
        return ContextParallelAlibiAttention if is_shared else AlibiAttention
    return ContextParallelAttention if is_shared else SlidingWindowAttention


def _is_transformer_engines(transformer: TransformerConfig, kernels: Kernels, is_alibi: bool) -> bool:
    return kernels.transformer_engine and (transformer.bf16 or not is_alibi)


def block_spec(
    transformer: TransformerConfig, kernels: Kernels, vp_stage: int | None, is_alibi: bool
) -> TransformerBlockSubmodules:
    """Transformer Engine's layers, or megatron-core's local ones.

    The last norm is named too: left to itself, megatron-core takes Apex's wherever anything named apex can be imported,
    and that one knows no RMSNorm.
    """
    if kernels.transformer_engine:
        layer, norm = get_gpt_layer_with_transformer_engine_spec(), TENorm
    else:
        layer, norm = get_gpt_layer_local_spec(normalization=transformer.normalization), RMSNorm
        layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    layer.submodules.self_attention.submodules.core_attention = core_attention(transformer, kernels, is_alibi)
    layers = [layer] * get_num_layers_to_build(transformer, vp_stage)
    return TransformerBlockSubmodules(layers, layer_norm=norm)


def build_chunks(config: TrainingConfig, initial_weights: bool = True, kernels: Kernels = LOCAL) -> list[LanguageModel]:
    """This rank's parts of the model: one, or as many as there are virtual pipeline stages. Else as `build_model`."""
    count = config.model.virtual_pipeline_model_parallel_size
    stages = [None] if count is None else list(range(count))
    return [build_model(config, initial_weights, kernels, stage) for stage in stages]


def build_model(
    config: TrainingConfig, initial_weights: bool = True, kernels: Kernels = LOCAL, vp_stage: int | None = None
) -> LanguageModel:
    """This rank's part of the model: with local layers on the default device, which may be the meta device.

    Transformer Engine's layers are on the CPU whatever the default device is, and not to be had under the meta device:
    megatron-core makes their weights on the default device first (``_initialize_affine_weight_cpu``).
    Needs megatron-core's ``parallel_state`` (`custom_modules.platform.Platform.running`).

    Args:
        initial_weights: False leaves the matrices as allocated, for weights that are loaded next or the meta device.
        kernels: what computes it; the weights and their names in a checkpoint are the same.
        vp_stage: which of the rank's virtual pipeline stages, where it has several.

    Raises:
        UserError: its documents do not see each other, and Transformer Engine has no attention for that.
    """
    transformer = transformer_config(config, kernels)
    is_alibi = config.model.position_embedding_type == "alibi"
    longest = Curriculum.from_config(config).max_seq_length
    if config.separates_documents and _is_transformer_engines(transformer, kernels, is_alibi):
        check_packed_attention(transformer, config.model.head_dim + (FEATURES if is_alibi else 0), longest)
    chunk_size = config.model.cross_entropy_chunk_size
    model_class = partial(ChunkedLossModel, chunk_size=chunk_size) if chunk_size else LanguageModel
    model = model_class(
        config=transformer,
        transformer_layer_spec=block_spec(transformer, kernels, vp_stage, is_alibi),
        vocab_size=config.model.padded_vocab_size,
        max_sequence_length=longest,
        pre_process=parallel_state.is_pipeline_first_stage(ignore_virtual=False, vp_stage=vp_stage),
        post_process=parallel_state.is_pipeline_last_stage(ignore_virtual=False, vp_stage=vp_stage),
        position_embedding_type=POSITION_EMBEDDINGS[config.model.position_embedding_type],
        rotary_base=config.model.rotary_base,
        share_embeddings_and_output_weights=config.model.share_embeddings_and_output_weights,
        parallel_output=True,
        vp_stage=vp_stage,
    )
    model.restarts_positions = config.restarts_positions
    if model.post_process:
        hide_padding(model, config.model.vocab_size)
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
