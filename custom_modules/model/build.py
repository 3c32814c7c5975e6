"""Config -> megatron-core's ``GPTModel``."""

from __future__ import annotations

from megatron.core import parallel_state
from megatron.core.models.gpt import GPTModel
from megatron.core.models.gpt.gpt_layer_specs import (
    get_gpt_layer_local_spec,
    get_gpt_layer_with_transformer_engine_spec,
)
from megatron.core.transformer.spec_utils import ModuleSpec

from custom_modules.config.schema import Config
from custom_modules.curriculum.stages import Curriculum
from custom_modules.model.attention import SlidingWindowAttention
from custom_modules.model.initialize import initialize
from custom_modules.model.transformer_config import transformer_config


def layer_spec(config: Config) -> ModuleSpec:
    """Transformer Engine's layers when FP8 is asked for, else megatron-core's local ones with our core attention."""
    if config.model.fp8:
        return get_gpt_layer_with_transformer_engine_spec()
    spec = get_gpt_layer_local_spec(normalization="RMSNorm")
    spec.submodules.self_attention.submodules.core_attention = SlidingWindowAttention
    return spec


def build_model(config: Config, initial_weights: bool = True) -> GPTModel:
    """This rank's part of the model, on the CPU or the default device.

    Needs megatron-core's ``parallel_state`` (`custom_modules.platform.Platform.start`).

    Args:
        initial_weights: False leaves the matrices as allocated, for weights that are loaded next or the meta device.
    """
    model = GPTModel(
        config=transformer_config(config),
        transformer_layer_spec=layer_spec(config),
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
