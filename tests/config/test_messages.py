"""Refusals are one line: the key in full, the value as it was given, and what would work, nothing missing of it."""

from __future__ import annotations

import re

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import render_text


def refusal(*overrides: str) -> str:
    with pytest.raises(UserError) as refused:
        load_config("danube_rehearsal", overrides)
    return str(refused.value)


@pytest.mark.parametrize("value", ["a:", ":", "' '", "b "])
@pytest.mark.parametrize("key", ["trainer.devices", "trainer.precision", "trainer.dry_run", "model.optim.betas"])
def test_a_value_that_ends_in_a_colon_or_a_space_is_in_quotes(key: str, value: str) -> None:
    bare = value.strip("'")
    quoted = f"'{bare}'"
    assert refusal(f"{key}='{bare}'").startswith(f"{key}={quoted}: ")


@pytest.mark.parametrize("override", ["=3", "+=3", "~=3", "data.steps=[]", "++model.optim=[1]"])
def test_an_override_without_a_key_or_of_a_whole_section(override: str) -> None:
    message = refusal(override)
    assert message.startswith(f"{override.lstrip('+') if '.' in override else override}: ") and "\n" not in message


@pytest.mark.parametrize("value", ["[]", "[1,x]", "{}", "{a: 1}", "true", "abc", "3"])
@pytest.mark.parametrize(
    "key", ["model.activation", "model.normalization", "model.position_embedding_type", "trainer.dry_run"]
)
def test_a_value_of_another_type(key: str, value: str) -> None:
    if (key, value) != ("trainer.dry_run", "true"):
        assert re.match(rf"{re.escape(key)}=\S.*: \S", refusal(f"{key}={value}"))


def test_what_does_not_fit_whatever_is_done_has_no_empty_list_of_remedies() -> None:
    large = [
        *["model.hidden_size=25600", "model.ffn_hidden_size=69120", "model.num_attention_heads=25"],
        *["model.num_query_groups=1", "model.micro_batch_size=1", "model.optim.name=distributed_fused_adam"],
        *["model.cross_entropy_chunk_size=2048", "model.activations_checkpoint_granularity=full"],
    ]
    text = render_text(build_plan(load_config("danube_1_8b", large)))
    assert "will not fit" in text and "cheapest first" not in text
    assert "Divide the model over more devices, or shorten the stage." in text
