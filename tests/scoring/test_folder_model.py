"""A model of transformers: what its logits say, what it generates alone, and the same bits beside other items."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
import torch

from custom_modules.scoring.folder_model import FolderModel
from custom_modules.scoring.scorer import ModelScorer
from custom_modules.tasks.items import Answer, Continuation, Generation, Item
from tests.support.letters import LetterEncoder

MAX_LENGTH = 48
NEW = 12


def make_model(kind: str, dtype: torch.dtype = torch.float32) -> Any:
    import transformers

    torch.manual_seed(0)
    shape: dict[str, Any] = {
        "vocab_size": 30,
        "hidden_size": 32,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": MAX_LENGTH,
        "initializer_range": 0.4,
        "pad_token_id": 0,
    }
    more: dict[str, dict[str, Any]] = {"Mistral": {"sliding_window": 24}, "Cohere": {"logit_scale": 0.3}}
    config = getattr(transformers, f"{kind}Config")(**{**shape, **more[kind]})
    return getattr(transformers, f"{kind}ForCausalLM")(config).to(dtype).eval()


def scorer(model: Any, batch_size: int = 8) -> ModelScorer:
    encoder = LetterEncoder()
    folder = FolderModel(model, torch.device("cpu"), MAX_LENGTH, encoder.eos_ids, encoder.decode)
    return ModelScorer(folder, encoder, batch_size=batch_size)


def text(source: random.Random, most: int) -> str:
    return "".join(source.choices("abcdefgh", k=source.randint(1, most)))


def continuations(count: int, seed: int = 4) -> list[Item]:
    source = random.Random(seed)
    found = []
    for number in range(count):
        context, most = text(source, MAX_LENGTH), number % 2 * 7 + 1
        requests = tuple(Continuation(context, text(source, most)) for _ in range(3))
        found.append(Item("letters", number, requests, 0, ""))
    return found


def generations(count: int, until: tuple[str, ...] = ("cab", "h")) -> list[Item]:
    source = random.Random(6)
    return [Item("texts", n, (Generation(text(source, MAX_LENGTH), until, NEW),), None, "") for n in range(count)]


def likelihoods(answers: Sequence[tuple[Answer, ...]]) -> list[list[float | None]]:
    return [[answer.log_likelihood for answer in of_item] for of_item in answers]


@pytest.mark.parametrize("kind", ["Mistral", "Cohere"])
def test_log_likelihoods_are_those_of_the_logits(kind: str) -> None:
    """Cohere's logits are not what its output layer gives."""
    model, encoder = make_model(kind), LetterEncoder()
    items = continuations(20)
    for item, answers in zip(items, scorer(model).score(items), strict=True):
        for request, answer in zip(item.requests, answers, strict=True):
            assert isinstance(request, Continuation)
            ids = torch.tensor((encoder.ids(request.context) + encoder.ids(request.text))[-(MAX_LENGTH + 1) :])
            with torch.no_grad():
                found = model(ids[None, :-1]).logits[0].double().log_softmax(-1).gather(-1, ids[1:, None])
            assert answer.log_likelihood == pytest.approx(float(found[-len(request.text) :].sum()), abs=2e-5)
            assert answer.tokens == len(request.text)
            assert answer.cut == max(0, len(request.context) + len(request.text) - MAX_LENGTH - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_log_likelihoods_are_the_same_bits_beside_other_items(dtype: torch.dtype) -> None:
    model, items = make_model("Mistral", dtype), continuations(40)
    whole = likelihoods(scorer(model).score(items))
    assert likelihoods(scorer(model, 1).score(items[::-1]))[::-1] == whole
    others = continuations(20, seed=8)
    mixed = [each for pair in zip(items[:20], others, strict=True) for each in pair]
    assert likelihoods(scorer(model, 3).score(mixed))[::2] == whole[:20]


def alone(model: Any, request: Generation) -> tuple[str, int]:
    """The likeliest tokens one by one, each from a whole forward pass without padding."""
    encoder = LetterEncoder()
    ids = encoder.prompt(request.context)[-(MAX_LENGTH - request.max_new_tokens) :]
    new: list[int] = []
    while len(new) < request.max_new_tokens:
        with torch.no_grad():
            new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
        if new[-1] == 0 or any(end in encoder.decode(new) for end in request.until):
            break
    found = encoder.decode(new)
    for end in request.until:
        found = found.split(end)[0]
    return found, len(new)


def test_texts_are_those_that_are_generated_alone() -> None:
    model, items = make_model("Mistral"), generations(30)
    answers = scorer(model).score(items)
    wanted = [alone(model, item.requests[0]) for item in items]  # type: ignore[arg-type]
    assert [(answer.text, answer.tokens) for (answer,) in answers] == wanted
    lengths = {tokens for _, tokens in wanted}
    assert NEW in lengths and len(lengths) > 3
    assert [answer.cut for (answer,) in answers] == [
        max(0, len(item.requests[0].context) - (MAX_LENGTH - NEW)) for item in items
    ]


def test_texts_are_the_same_beside_other_items() -> None:
    model, items = make_model("Mistral", torch.bfloat16), generations(30)
    whole = scorer(model).score(items)
    assert scorer(model).score(items[::-1])[::-1] == whole
    assert [scorer(model).score([item])[0] for item in items[:6]] == whole[:6]


def test_a_model_that_never_stops() -> None:
    """It is ended at so many tokens, and where they leave a prompt no room that is counted."""
    model = make_model("Mistral")
    with torch.no_grad():
        model.lm_head.weight[0] = 0
        model.lm_head.weight[1] = 9 * model.lm_head.weight.abs().sum(0)
    requests = (Generation("abc", (), NEW), Generation("abc", (), MAX_LENGTH))
    long = Item("texts", 0, (requests[0],), None, "")
    none = Item("texts", 1, (requests[1],), None, "")
    (first,), (second,) = scorer(model).score([long, none])
    assert first.tokens == NEW and len(first.text or "") == NEW
    assert (second.text, second.tokens, second.cut, second.nothing_left) == ("", 0, 3, True)
