"""The card of a model that was trained on conversations says from what, on what, and under which licences."""

from __future__ import annotations

from typing import Any

import yaml

from custom_modules.conversion.model_card import model_card
from tests.support.trained import small_config

HF_CONFIG = {
    "architectures": ["MistralForCausalLM"],
    "vocab_size": 500,
    "max_position_embeddings": 16384,
    "sliding_window": None,
    "dtype": "bfloat16",
}


def plain(kind: str, sources: dict[str, Any]) -> dict[str, Any]:
    config = small_config().model_dump(mode="json")
    config["model"]["restore_from_path"] = "/secret/place/danube_1_8b"
    return {**config, "kind": kind, "data": {"dir": "/secret/data", "sources": sources}}


def test_sets_and_their_licences() -> None:
    sources = {
        "openorca": {"path": "/secret/orca", "format": None, "max_samples": 72000},
        "oasst2": {"path": "/secret/oasst2", "format": None, "max_samples": None},
        "mine": {"path": "/secret/mine", "format": "messages", "max_samples": 5},
        "pairs": {"path": "/secret/x", "format": "orca_dpo_pairs", "max_samples": None},
    }
    card = model_card(plain("sft", sources), HF_CONFIG, 1_000, "1,234 tokens in 56 steps")
    assert "| openorca | Open-Orca/OpenOrca | MIT | 72,000 samples |" in card
    assert "| oasst2 | OpenAssistant/oasst2 | Apache-2.0 | all of it |" in card
    assert "| mine |  | not known here | 5 samples |" in card
    assert "| pairs | Intel/orca_dpo_pairs | Apache-2.0 | all of it |" in card
    assert "It began with the weights of `danube_1_8b`, and was fine-tuned on conversations" in card
    assert "1,234 tokens in 56 steps" in card
    assert "`<|prompt|>`" in card
    assert "secret" not in card
    assert "conversational" in yaml.safe_load(card.split("---\n")[1])["tags"]


def test_the_recipe_can_be_read_as_yaml() -> None:
    card = model_card(plain("dpo", {}), HF_CONFIG, 1_000, "10 pairs")
    recipe = yaml.safe_load(card.split("```yaml\n")[1].split("```")[0])
    config = small_config()
    assert recipe["model.optim.lr"] == config.model.optim.lr
    assert recipe["model.hidden_size"] == 64
    assert recipe["model.optim.betas"] == list(config.model.optim.betas)
    assert recipe["curriculum.stages.stage1.tokens"] == config.curriculum.stages["stage1"].tokens
