"""A chat model answers on the GPU as it does on the CPU: the likeliest tokens, in fp32."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from custom_modules import platform
from custom_modules.chat.model import ChatModel
from tests.support.chat_model import make_chat_export
from tests.support.gpu import Machine

PROMPTS = ("a", "Is it so?", "seven words are in this one, indeed")


@pytest.mark.values
def test_answers_of_the_cpu(machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = make_chat_export(tmp_path / "export")
    here = answers(export, machine.accelerator)
    monkeypatch.setattr(platform, "device_of_one", lambda: torch.device("cpu"))
    assert here == answers(export, "cpu")


def answers(export: Path, accelerator: str) -> tuple[Sequence[tuple[str, bool]], list[bool]]:
    """Return the answers one by one, and which of them end when they are given together."""
    model = ChatModel(export)
    assert model.device.type == ("cuda" if accelerator == "gpu" else "cpu")
    asked = [model.encode([{"role": "user", "content": prompt}]) for prompt in PROMPTS]
    greedy = {"do_sample": False, "max_new_tokens": 24}
    return [model.answer(ids, greedy, lambda text: None) for ids in asked], model.ends(asked, 24)
