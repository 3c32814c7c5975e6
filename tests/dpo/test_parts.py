"""The parts of `danube dpo` against independent implementations: order, attention, adapter, tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.load import load_config
from custom_modules.dpo.order import PairOrder
from custom_modules.model.transformers_attention import NAME, register_attention
from tests.support.preferences import WINDOW, make_pairs


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 50), min_size=5, max_size=60), st.integers(1, 5), st.integers(0, 99))
def test_each_pair_once_an_epoch(tokens: list[int], batch: int, seed: int) -> None:
    order = PairOrder(tokens, batch, seed)
    for epoch in (0, 1):
        order.epoch = epoch
        drawn = list(order)
        assert len(set(drawn)) == len(drawn) == len(tokens) - order.left_out
        assert len(drawn) % batch == 0
    passed, clock = 0, []
    for epoch in (0, 1):
        for step in range(order.steps):
            passed += sum(tokens[pair] for pair in order.of_epoch(epoch)[step * batch : (step + 1) * batch])
            clock.append(passed)
    assert clock == [order.tokens_after(step) for step in range(1, 2 * order.steps + 1)]


def test_epochs_differ() -> None:
    order = PairOrder([1] * 40, 2, 1)
    assert not np.array_equal(order.of_epoch(0), order.of_epoch(1))
    assert np.array_equal(order.of_epoch(1), PairOrder([1] * 40, 2, 1).of_epoch(1))


@pytest.mark.parametrize("length", [WINDOW - 1, WINDOW, WINDOW + 1, 3 * WINDOW])
def test_attention_is_transformers_own(export: Path, length: int) -> None:
    """Also behind right padding, where the other has a mask and this one has none."""
    from transformers import AutoModelForCausalLM

    register_attention()
    ids = torch.randint(3, 300, (2, length), generator=torch.Generator().manual_seed(length))
    shown = torch.ones_like(ids)
    shown[1, length // 2 :] = 0
    found = []
    for attention in (NAME, "sdpa"):
        model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32, attn_implementation=attention).eval()
        with torch.no_grad():
            found.append(model(input_ids=ids, attention_mask=shown, use_cache=False).logits)
    ours, theirs = found
    seen = shown.bool()
    assert (ours[seen] - theirs[seen]).abs().max() <= 1e-5 * theirs[seen].abs().max()


def test_parameters_at_full_size() -> None:
    """r=4 on every linear but the head: 24 layers of 180,224."""
    from peft import get_peft_model
    from transformers import MistralConfig, MistralForCausalLM

    from custom_modules.dpo.settings import adapter_config

    config = load_config("danube_dpo", ["data.dir=nowhere"], kind=DpoConfig)
    shape = config.model
    with torch.device("meta"):
        model = MistralForCausalLM(
            MistralConfig(
                vocab_size=shape.vocab_size,
                hidden_size=shape.hidden_size,
                intermediate_size=shape.ffn_hidden_size,
                num_hidden_layers=shape.num_layers,
                num_attention_heads=shape.num_attention_heads,
                num_key_value_heads=shape.num_query_groups,
                head_dim=shape.kv_channels,
            )
        )
        adapted = get_peft_model(model, adapter_config(config))
    trained = {name: tensor.numel() for name, tensor in adapted.named_parameters() if tensor.requires_grad}
    assert sum(trained.values()) == 4_325_376 == 24 * 180_224
    assert not [name for name in trained if "lm_head" in name or "embed" in name]


def test_tokens_are_trls(export: Path, tmp_path: Path) -> None:
    """The ids of prompt and answers, from the chat template, as DPOTrainer would make them; the last answer alone."""
    import pyarrow
    import pyarrow.parquet
    from transformers import AutoTokenizer

    from custom_modules.dpo.pairs import read_pairs

    rows = make_pairs(20, 3)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "pairs.parquet")
    tokenizer: Any = AutoTokenizer.from_pretrained(export)
    found = read_pairs(tmp_path / "pairs.parquet", tokenizer, 128)
    for number, row in enumerate(rows):
        prompt = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True)["input_ids"]
        assert found.prompts[number] == prompt
        for side, ids in (("chosen", found.chosen), ("rejected", found.rejected)):
            whole = tokenizer.apply_chat_template([*row["prompt"], *row[side]])["input_ids"]
            assert [*prompt, *ids[number]] == whole
            assert ids[number][-1] == tokenizer.eos_token_id
