"""Parameters and FLOPs, against a count done one weight and one query-key pair at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.flops import (
    flops_of_whole_squares,
    flops_per_token,
    peak_flops,
    total_flops,
    visible_pairs,
)
from custom_modules.plan.parameters import count_parameters

RECIPE = load_config("danube_1_8b")


@settings(deadline=None)
@given(st.integers(1, 200), st.none() | st.integers(1, 300))
def test_visible_pairs_one_by_one(seq_length: int, window: int | None) -> None:
    pairs = sum(
        1
        for query in range(seq_length)
        for key in range(seq_length)
        if key <= query and (window is None or query - key < window)
    )
    assert visible_pairs(seq_length, window) == pairs


def shapes_of(config: Config) -> list[tuple[int, int]]:
    """Every matrix of the model that multiplies a token, as a Hugging Face Mistral has them."""
    model = config.model
    query, key = model.num_attention_heads * model.head_dim, model.num_query_groups * model.head_dim
    layer = [
        (query, model.hidden_size),
        (key, model.hidden_size),
        (key, model.hidden_size),
        (model.hidden_size, query),
        (model.ffn_hidden_size, model.hidden_size),
        (model.ffn_hidden_size, model.hidden_size),
        (model.hidden_size, model.ffn_hidden_size),
    ]
    return layer * model.num_layers + [(model.vocab_size, model.hidden_size)]


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.sliding_window=null"],
        ["model.sliding_window=100", "model.kv_channels=128", "model.vocab_size=32003"],
        ["model.num_query_groups=32"],
    ],
)
@pytest.mark.parametrize("seq_length", [1, 128, 1024])
def test_flops_counted_out(overrides: list[str], seq_length: int) -> None:
    config = load_config("danube_1_8b", overrides)
    model = config.model
    forward = sum(2 * rows * columns for rows, columns in shapes_of(config)) * seq_length
    for position in range(seq_length):
        keys = min(position + 1, model.sliding_window or seq_length)
        scores, values = 2 * model.head_dim * keys, 2 * model.head_dim * keys
        forward += model.num_layers * model.num_attention_heads * (scores + values)
    assert flops_per_token(config, seq_length) == pytest.approx(3 * forward / seq_length, rel=1e-15)
    whole = sum(2 * rows * columns for rows, columns in shapes_of(config)) * seq_length
    whole += model.num_layers * model.num_attention_heads * 4 * model.head_dim * seq_length**2
    assert flops_of_whole_squares(model, seq_length) == 3 * whole


def test_flops_of_the_whole_curriculum() -> None:
    curriculum = Curriculum.from_config(RECIPE)
    by_stage = sum(flops_per_token(RECIPE, stage.seq_length) * stage.trained_tokens for stage in curriculum.stages)
    assert total_flops(RECIPE) == pytest.approx(by_stage, rel=1e-12)


def test_the_window_is_counted() -> None:
    unbounded = load_config("danube_1_8b", ["model.sliding_window=null"])
    assert flops_per_token(RECIPE, 4096) == flops_per_token(unbounded, 4096)
    assert flops_per_token(RECIPE, 16384) < flops_per_token(unbounded, 16384)


def test_the_reports_parameters() -> None:
    counts = count_parameters(RECIPE.model)
    matrices = sum(rows * columns for rows, columns in shapes_of(RECIPE))
    assert counts.total == 1_831_201_280
    assert counts.matmul == matrices
    assert counts.total == matrices + 32_000 * 2560 + (2 * 24 + 1) * 2560
    assert count_parameters(RECIPE.model, padded=True) == counts


def test_padding_counts_only_where_it_is_asked_for() -> None:
    model = load_config("danube_1_8b", ["model.vocab_size=32001", "model.tensor_model_parallel_size=2"]).model
    assert count_parameters(model).total == 1_831_201_280 + 2 * 2560
    assert count_parameters(model, padded=True).total == 1_831_201_280 + 2 * 256 * 2560


def test_parameters_of_the_same_hugging_face_model() -> None:
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    shape = load_config("danube_rehearsal", ["model.kv_channels=24"]).model
    with torch.device("meta"):
        mistral = MistralForCausalLM(
            MistralConfig(
                vocab_size=shape.vocab_size,
                hidden_size=shape.hidden_size,
                intermediate_size=shape.ffn_hidden_size,
                num_hidden_layers=shape.num_layers,
                num_attention_heads=shape.num_attention_heads,
                num_key_value_heads=shape.num_query_groups,
                head_dim=shape.head_dim,
                tie_word_embeddings=False,
            )
        )
    assert count_parameters(shape).total == mistral.num_parameters()


@pytest.mark.parametrize(
    ("device", "teraflops"),
    [
        ("NVIDIA H100 80GB HBM3", 989.4),
        ("H100", 989.4),
        ("h100-sxm", 989.4),
        ("NVIDIA H100 PCIe", 756.5),
        ("NVIDIA H100 NVL", 835.5),
        ("NVIDIA H200", 989.4),
        ("NVIDIA H20", 148),
        ("NVIDIA B200", 2250),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
    ],
)
def test_peaks(device: str, teraflops: float) -> None:
    assert peak_flops(device) == teraflops * 1e12


@pytest.mark.parametrize(
    "device", ["", "cpu", "NVIDIA A1000", "NVIDIA T4", "NVIDIA GB200", "NVIDIA H100 80GB HBM3 MIG 1g.10gb"]
)
def test_no_peak_is_guessed(device: str) -> None:
    assert peak_flops(device) is None


def test_folded_alibi_counts_in_no_flops() -> None:
    """They are those of the same shape without a window, whose heads have no further features."""
    loki = load_config("loki_1_4b")
    shape = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups")
    same = [f"model.{key}={getattr(loki.model, key)}" for key in shape]
    rotary = load_config("danube_1_8b", [*same, "model.sliding_window=null"])
    assert flops_per_token(loki, 2048) == flops_per_token(rotary, 2048)
