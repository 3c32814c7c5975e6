"""ALiBi in the core attention, against its definition in float64 and against transformers."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.models.bloom.modeling_bloom import build_alibi_tensor

from custom_modules.architecture.alibi import BLOCK, LONGEST_FOLDED, slopes
from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.model import alibi
from custom_modules.model.build import build_model
from tests.model.test_attention import Largest
from tests.support.alibi import LOKI, TOLERANCES, attend, build, compare, draw, shape
from tests.support.commands import free_ports
from tests.support.llama import llama_weights
from tests.support.ranks import run_ranks

LONGER = [pytest.param(length, marks=pytest.mark.slow) for length in (BLOCK, BLOCK + 1, 700)]


def test_slopes_are_those_of_bloom() -> None:
    for heads in range(1, 70):
        theirs = build_alibi_tensor(torch.ones(1, 2), heads, torch.float32)[:, 0, 1]
        torch.testing.assert_close(torch.tensor(slopes(heads)), theirs, rtol=1e-6, atol=0)


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize(("heads", "groups"), [(4, 4), (4, 2)])
@pytest.mark.parametrize("length", [1, 7, 255, 257, *LONGER])
def test_equals_the_definition(single_process: None, length: int, heads: int, groups: int, precision: str) -> None:
    compare(config(*shape(heads, groups), f"trainer.precision={precision}"), length)


@pytest.mark.slow
@pytest.mark.parametrize("precision", TOLERANCES)
def test_equals_the_definition_at_the_reports_shape(single_process: None, precision: str) -> None:
    """32 heads of 64, over more than one block."""
    compare(config(*shape(32, 32), f"trainer.precision={precision}"), BLOCK + 65, batch=1)


@pytest.mark.slow
def test_every_rank_has_its_own_slopes_and_positions() -> None:
    keys = ("model.tensor_model_parallel_size", "model.context_parallel_size")
    runs = [[f"{key}=2", f"trainer.precision={precision}"] for key in keys for precision in TOLERANCES]
    run_ranks(attend, (2, list(zip(free_ports(len(runs)), runs, strict=True))), 2)


def config(*overrides: str) -> Config:
    return load_config("danube_rehearsal", [*LOKI, "trainer.devices=1", *overrides])


@pytest.mark.parametrize("heads", [8, 12])
def test_folded_numbers_are_exact_in_bf16(heads: int) -> None:
    """Every position is the sum of its features, and every slope of its own to the precision of fp32."""
    bf16, cpu = torch.bfloat16, torch.device("cpu")
    keys = alibi.key_features(LONGEST_FOLDED, 0, 1, bf16, cpu)
    queries = alibi.query_features(slopes(heads), 0.125, bf16, cpu)
    assert keys.dtype == queries.dtype == bf16
    for first in range(0, alibi.PARTS * 2, 2):
        assert torch.equal(keys[:, first : first + 2].double().sum(-1), torch.arange(LONGEST_FOLDED).double())
        assert torch.equal(queries[:, first], queries[:, first + 1])
    assert (keys[:, 6:] == 0).all() and (queries[:, 6:] == 0).all()
    exact = torch.tensor(slopes(heads), dtype=torch.float64) / 0.125
    assert ((queries[:, :6:2].double().sum(-1) - exact).abs() / exact).max() <= 2**-24


def test_one_bias_serves_all_layers_blocks_and_shorter_sequences(single_process: None) -> None:
    alibi._biases.clear()
    first, second = build(config(*shape(4, 4, 8))), build(config(*shape(4, 2, 8)))
    for attention, groups, length in ((first, 4, 900), (second, 2, 1200), (first, 4, 520)):
        attention(*draw(length, 4, groups, 8, torch.float32)[:3])
    [bias] = alibi._biases.values()
    assert bias.shape == (4, BLOCK, 1200 + BLOCK)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_no_tensor_grows_with_the_square_of_the_length(single_process: None, precision: str) -> None:
    length, dim = 4096, 8
    settings = config(*shape(2, 2, dim), f"trainer.precision={precision}")
    dtype = torch.float32 if precision == "32-true" else torch.bfloat16
    *tensors, upstream = draw(length, 2, 2, dim, dtype)
    alibi._biases.clear()
    with Largest() as largest:
        build(settings)(*(tensor.requires_grad_() for tensor in tensors)).backward(upstream)
    assert largest.elements <= 2 * BLOCK * (length + BLOCK)


@pytest.mark.parametrize("length", [40, BLOCK + 3])
@torch.no_grad()
def test_logits_equal_transformers(single_process: None, length: int) -> None:
    """A Llama whose tokens all have position 0, so that nothing is rotated, and whose mask is the bias."""
    settings = config(*shape(8, 2, 16), "model.init_method_std=0.1")
    model = settings.model
    ours = build_model(settings).eval()
    sizes: dict[str, Any] = {
        "vocab_size": model.vocab_size,
        "hidden_size": model.hidden_size,
        "intermediate_size": model.ffn_hidden_size,
        "num_hidden_layers": model.num_layers,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "rms_norm_eps": model.layernorm_epsilon,
        "attn_implementation": "eager",
    }
    theirs = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    theirs.load_state_dict(llama_weights(settings, ours.state_dict()))
    tokens = torch.randint(0, model.vocab_size, (2, length), generator=torch.Generator().manual_seed(2))
    place = torch.arange(length)
    distance = place[:, None] - place
    bias = -torch.tensor([2.0**-head for head in range(1, 9)])[:, None, None] * distance
    bias = bias.masked_fill(distance < 0, torch.finfo(torch.float32).min)[None].expand(2, -1, -1, -1)
    found = ours(tokens, place[None], None)[..., : model.vocab_size]
    expected = theirs(tokens, attention_mask=bias, position_ids=torch.zeros(2, length, dtype=torch.long)).logits
    assert expected.abs().max() > 1
    assert (found - expected).abs().max() <= 1e-5
