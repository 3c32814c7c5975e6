"""Config -> megatron-core's ``GPTModel``."""

from __future__ import annotations

from functools import partial

from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.torch_norm import WrappedTorchNorm
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig

from custom_modules.config.schema import Config
from custom_modules.curriculum.stages import Curriculum
from custom_modules.model.attention import SlidingWindowAttention
from custom_modules.model.chunked_loss import ChunkedLossGPTModel
from custom_modules.model.initialize import initialize
from custom_modules.model.transformer_config import transformer_config


def block_spec(config: Config, transformer: TransformerConfig) -> ModuleSpec | TransformerBlockSubmodules:
    """Transformer Engine's layers when FP8 is asked for, else megatron-core's local ones with our core attention.

    The local block names its last norm too: left to itself, megatron-core takes Apex's wherever anything named apex can
    be imported, and that one knows no RMSNorm.
    """
    if config.model.fp8:
        return get_gpt_layer_with_transformer_engine_spec()
    layer = get_gpt_layer_local_spec(normalization="RMSNorm")
    layer.submodules.self_attention.submodules.core_attention = SlidingWindowAttention
    return TransformerBlockSubmodules([layer] * get_num_layers_to_build(transformer), layer_norm=WrappedTorchNorm)


def build_model(config: Config, initial_weights: bool = True) -> GPTModel:
    """This rank's part of the model, on the CPU or the default device.

    Needs megatron-core's ``parallel_state`` (`custom_modules.platform.Platform.start`).

    Args:
        initial_weights: False leaves the matrices as allocated, for weights that are loaded next or the meta device.
    """
    transformer = transformer_config(config)
    chunk_size = config.model.cross_entropy_chunk_size
    model_class = partial(ChunkedLossGPTModel, chunk_size=chunk_size) if chunk_size else GPTModel
    model = model_class(
        config=transformer,
        transformer_layer_spec=block_spec(config, transformer),
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
