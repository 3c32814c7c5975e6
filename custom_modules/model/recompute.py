"""Activation recomputation of a model that is already built, so that one model can go through stages that differ."""

from __future__ import annotations

from megatron.core.transformer.transformer_layer import TransformerLayer

from custom_modules.config.recompute import Recompute
from custom_modules.model.language_model import LanguageModel


def set_recompute(model: LanguageModel, recompute: Recompute) -> None:
    """Let the next forward passes in training keep what ``recompute`` says; values and gradients stay the same.

    megatron-core reads full recomputation from the config in every forward pass. Which modules selective recomputation
    leaves out, each layer and its attention noted when they were built.
    """
    config = model.config
    config.recompute_granularity = recompute.granularity
    config.recompute_method = recompute.method
    config.recompute_num_layers = recompute.num_layers or None
    config.recompute_modules = list(recompute.modules)
    for layer in model.decoder.layers:
        assert isinstance(layer, TransformerLayer)
        layer.self_attention.checkpoint_core_attention = "core_attn" in recompute.modules
        layer.recompute_mlp = "mlp" in recompute.modules
