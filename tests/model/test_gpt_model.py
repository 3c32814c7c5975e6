"""The whole model: parameter count, initial weights, and logits against transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import MistralConfig, MistralForCausalLM

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.model.build import build_model
from custom_modules.plan.parameters import count_parameters
from tests.support.llama import llama_weights

SMALL = [
    "trainer.devices=1",
    "model.num_layers=3",
    "model.hidden_size=64",
    "model.ffn_hidden_size=172",
    "model.num_attention_heads=8",
    "model.num_query_groups=2",
    "model.vocab_size=300",
    "model.sliding_window=96",
    "model.init_method_std=0.1",
]


def mistral(config: Config, weights: dict[str, torch.Tensor]) -> MistralForCausalLM:
    """transformers' model with a GPTModel's weights."""
    shape = config.model
    heads, groups, dim = shape.num_attention_heads, shape.num_query_groups, shape.head_dim
    sizes: Any = MistralConfig
    model = MistralForCausalLM(
        sizes(
            vocab_size=shape.vocab_size,
            hidden_size=shape.hidden_size,
            intermediate_size=shape.ffn_hidden_size,
            num_hidden_layers=shape.num_layers,
            num_attention_heads=heads,
            num_key_value_heads=groups,
            head_dim=dim,
            sliding_window=shape.sliding_window,
            rms_norm_eps=shape.layernorm_epsilon,
            max_position_embeddings=1024,
            rope_parameters={"rope_type": "default", "rope_theta": shape.rotary_base},
            attn_implementation="eager",
        )
    ).eval()
    model.load_state_dict(llama_weights(config, weights))
    return model


@pytest.mark.parametrize("window", [96, None])
@pytest.mark.parametrize("length", [40, 95, 96, 97, 400])
@torch.no_grad()
def test_logits_equal_transformers(single_process: None, length: int, window: int | None) -> None:
    """Below, at and beyond the window."""
    config = load_config("danube_rehearsal", [*SMALL, f"model.sliding_window={window or 'null'}"])
    ours = build_model(config).eval()
    for name, parameter in ours.named_parameters():
        if "norm" in name:
            parameter.uniform_(0.5, 1.5, generator=torch.Generator().manual_seed(1))
    theirs = mistral(config, ours.state_dict())
    tokens = torch.randint(0, 300, (2, length), generator=torch.Generator().manual_seed(2))
    found = ours(tokens, torch.arange(length)[None], None)[..., :300]
    expected = theirs(tokens).logits
    assert expected.abs().max() > 1
    assert (found - expected).abs().max() <= 1e-5


@pytest.mark.parametrize(
    ("recipe", "parameters"),
    [("danube_1_8b", 1_831_201_280), ("danube_500m", 498_791_680), ("loki_1_4b", 1_364_297_728)],
)
def test_a_recipe_has_its_reports_parameters(single_process: None, recipe: str, parameters: int) -> None:
    """Built on no device; those of the smaller Danube and of LokiLM's assumed FFN are what their YAML says."""
    config = load_config(recipe, ["model.fp8=null"])
    with torch.device("meta"):
        model = build_model(config, initial_weights=False)
    assert sum(parameter.numel() for parameter in model.parameters()) == parameters
    assert count_parameters(config.model).total == parameters


def test_initial_weights(single_process: None) -> None:
    config = load_config("danube_rehearsal", [*SMALL, "model.init_method_std=0.02"])
    first, again = build_model(config), build_model(config)
    other = build_model(load_config("danube_rehearsal", [*SMALL, "model.seed=5"]))
    for (name, one), two, three in zip(first.named_parameters(), again.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two), name
        if "norm" in name:
            assert (one == 1).all(), name
            continue
        assert not torch.equal(one, three), name
        residual = "linear_proj" in name or "linear_fc2" in name
        rows = one[:300] if one.shape[0] == 384 else one
        assert rows.std().item() == pytest.approx(0.02 / (6**0.5 if residual else 1), rel=0.05), name
        assert rows.mean().abs() < 0.002, name
    assert (first.output_layer.weight[300:] == 0).all()
