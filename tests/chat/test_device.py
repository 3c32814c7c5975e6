"""A chat model answers on the device that the platform names; the tensors that it is asked with are all there.

The device is torch's ``meta``, which a machine without a GPU has too, and on which nothing is computed: an answer is
made up in the place of the model's. tests/gpu compares answers of a GPU.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules import platform
from custom_modules.chat.model import ChatModel
from custom_modules.errors import UserError
from custom_modules.mt_bench.answerer import Answerer
from custom_modules.mt_bench.chat_model import open_chat_model
from custom_modules.mt_bench.generation import Generation
from custom_modules.mt_bench.questions import Question
from tests.support.chat_model import make_chat_export

META = torch.device("meta")
ANSWER = b"yes"
END = 256


def test_the_first_gpu_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert platform.device_of_one() == torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert platform.device_of_one() == torch.device("cpu")


@pytest.fixture
def export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model that is put on ``meta``, where it answers with `ANSWER` if all that it is asked with is there."""
    from transformers import LlamaForCausalLM

    def generate(model: Any, ids: torch.Tensor, attention_mask: torch.Tensor, **more: Any) -> torch.Tensor:
        assert {model.device, ids.device, attention_mask.device} == {META}
        assert ids.shape == attention_mask.shape
        for criterion in more.get("stopping_criteria", ()):
            assert criterion(ids, None).device == META
        answer = torch.tensor([[*ANSWER, END]]).repeat(len(ids), 1)
        if streamer := more.get("streamer"):
            streamer.put(torch.zeros(len(ids)))
            for index in answer[0]:
                streamer.put(index[None])
            streamer.end()
        return torch.cat([torch.zeros(ids.shape, dtype=torch.long), answer], dim=1)

    monkeypatch.setattr(platform, "device_of_one", lambda: META)
    monkeypatch.setattr(LlamaForCausalLM, "generate", generate)
    return make_chat_export(tmp_path / "export")


def test_chat(export: Path) -> None:
    model = ChatModel(export)
    ids = model.encode([{"role": "user", "content": "is it?"}])
    said: list[str] = []
    assert model.answer(ids, {}, said.append) == (ANSWER.decode(), False)
    assert "".join(said) == ANSWER.decode()
    assert model.ends([ids, ids[1:]], 8) == [True, True]


def test_mt_bench(export: Path) -> None:
    question = Question(id=81, category="writing", turns=("is it?", "sure?"))
    answered = Answerer(open_chat_model(export), Generation()).answer(question)
    assert answered.texts == (ANSWER.decode(),) * 2 and answered.finish_reasons == ("stop", "stop")


def test_a_gpu_without_room(export: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import LlamaForCausalLM

    def full(model: Any, device: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(LlamaForCausalLM, "to", full)
    with pytest.raises(UserError, match="the GPU has no room for the model; free it, or set CUDA_VISIBLE_DEVICES= "):
        ChatModel(export)
