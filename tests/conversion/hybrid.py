"""megatron-core's ``HybridModel`` as the decoder that a checkpoint of its ``GPTModel`` has the weights of.

A layer of the one is two of the other: attention, then the MLP, each with its norm before it. ``HybridStack`` takes
Transformer Engine's norm at the end, whatever its spec says: on a CPU it is given ours.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from megatron.core.dist_checkpointing.dict_utils import dict_list_map_inplace
from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory
from megatron.core.models.hybrid.hybrid_block import HybridStack, HybridStackSubmodules
from megatron.core.models.hybrid.hybrid_layer_allocation import Symbols
from megatron.core.models.hybrid.hybrid_model import HybridModel
from megatron.core.ssm.mlp_layer import MLPLayer
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_layer import TransformerLayer, TransformerLayerSubmodules

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.model.build import block_spec
from custom_modules.model.norm import RMSNorm
from custom_modules.model.transformer_config import transformer_config
from custom_modules.model.vocabulary_padding import hide_padding
from custom_modules.platform.kernels import LOCAL

LAYER = Symbols.ATTENTION + Symbols.MLP


class LocalStack(HybridStack):
    """Layers with our norm behind them."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options, post_layer_norm=False)
        self.post_layer_norm = True
        if self.post_process:
            self.final_norm = RMSNorm(self.config, self.config.hidden_size, self.config.layernorm_epsilon)


def build_hybrid_model(config: Config) -> HybridModel:
    """The model of a config, in a single process, with weights that are to be loaded."""
    transformer = transformer_config(config)
    layers = config.model.num_layers
    parts = block_spec(transformer, LOCAL, None, is_alibi=False).layer_specs[0].submodules
    attention = TransformerLayerSubmodules(
        input_layernorm=parts.input_layernorm,
        self_attention=parts.self_attention,
        self_attn_bda=parts.self_attn_bda,
        sharded_state_dict_keys_map=parts.sharded_state_dict_keys_map,
    )
    mlp = TransformerLayerSubmodules(
        pre_mlp_layernorm=parts.pre_mlp_layernorm,
        mlp=parts.mlp,
        mlp_bda=parts.mlp_bda,
        sharded_state_dict_keys_map=parts.sharded_state_dict_keys_map,
    )
    stack = HybridStackSubmodules(
        attention_layer=ModuleSpec(TransformerLayer, submodules=attention),
        mlp_layer=ModuleSpec(MLPLayer, submodules=mlp),
    )
    model = HybridModel(
        config=replace(transformer, num_layers=len(LAYER) * layers),
        hybrid_stack_spec=ModuleSpec(LocalStack, submodules=stack),
        hybrid_layer_pattern=LAYER * layers,
        vocab_size=config.model.padded_vocab_size,
        max_sequence_length=Curriculum.from_config(config).max_seq_length,
        position_embedding_type=config.model.position_embedding_type,
        rotary_base=config.model.rotary_base,
        share_embeddings_and_output_weights=config.model.share_embeddings_and_output_weights,
    )
    hide_padding(model, config.model.vocab_size)
    return model


def stored_as_gpt_model(state: dict[str, Any], layers: int) -> dict[str, Any]:
    """Have a ``HybridModel``'s sharded state dict look where a ``GPTModel``'s is stored; changed in place.

    There the layers' weights of a name are one tensor, stacked.
    """

    def look(entry: Any) -> Any:
        placed = re.fullmatch(r"decoder\.layers\.(\d+)\.(.*)", entry.key)
        if placed is None:
            entry.key = entry.key.replace("decoder.final_norm.", "decoder.final_layernorm.")
            return entry
        layer = int(placed[1]) // len(LAYER)
        entry.key = f"decoder.layers.{placed[2]}"
        return _stacked(entry, layer, layers)

    dict_list_map_inplace(look, state)
    return state


def _stacked(entry: Any, layer: int, layers: int) -> Any:
    if isinstance(entry, ShardedTensorFactory):
        build = entry.build_fn
        entry.build_fn = lambda *arguments: dict_list_map_inplace(
            lambda part: _stacked(part, layer, layers), build(*arguments)
        )
        return entry
    if isinstance(entry, ShardedTensor):
        entry.prepend_axis_num += 1
        entry.axis_fragmentations = (layers, *(entry.axis_fragmentations or ()))
    entry.global_shape = (layers, *entry.global_shape)
    entry.global_offset = (layer, *entry.global_offset)
    return entry
