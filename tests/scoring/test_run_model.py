"""Log-likelihoods of a run's own model: those of its logits, and the same bits beside any other rows."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from custom_modules.tasks.items import Continuation, Item
from tests.support.letters import LetterEncoder

MAX_LENGTH = 40
EXAMPLES = ("", "abczhhgz", "abczhz")


def item(number: int, *requests: tuple[str, str]) -> Item:
    return Item("letters", number, tuple(Continuation(*request) for request in requests), 0, str(number))


def items(count: int) -> list[Item]:
    """Contexts of all lengths, too long ones among them, some behind the same examples; continuations of one token and
    of several."""
    source = random.Random(3)

    def text(most: int) -> str:
        return "".join(source.choices("abcdefgh", k=source.randint(1, most)))

    found = []
    for number in range(count):
        context = EXAMPLES[number % 3] + text(MAX_LENGTH + 8)
        several = number % 2 * 9 + 1
        found.append(item(number, *[(context, text(several)) for _ in range(4)]))
    return found


@pytest.fixture(
    scope="module",
    params=[["model.sliding_window=24"], ["model.architecture=lokilm", "model.sliding_window=null"]],
    ids=["rope and a window", "alibi"],
)
def model(request: pytest.FixtureRequest) -> Iterator[tuple[object, torch.nn.Module]]:
    from custom_modules.config.load import load_config
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron
    from tests.support.tiny import TINY

    import_megatron()
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", *request.param])
    platform = Platform.detect(config)
    with platform.running(config):
        from custom_modules.model.build import build_model
        from custom_modules.scoring.run_model import RunModel

        gpt = build_model(config)
        generator = torch.Generator().manual_seed(0)
        for parameter in gpt.parameters():
            parameter.data.normal_(1.0 if parameter.dim() == 1 else 0.0, 0.3, generator=generator)
        yield RunModel([gpt], platform, MAX_LENGTH), gpt


def scores(model: object, asked: Sequence[Item]) -> list[list[float]]:
    from custom_modules.scoring.rows import Rows
    from custom_modules.scoring.scorer import score_rows

    rows = Rows(asked, LetterEncoder(), model.max_length, model.shapes)  # type: ignore[attr-defined]
    answers = rows.answers(score_rows(rows, model))  # type: ignore[arg-type]
    return [[answer.log_likelihood or 0.0 for answer in of_item] for of_item in answers]


def from_logits(gpt: torch.nn.Module, context: str, text: str) -> float:
    """The log-likelihood from the logits of this row alone, without padding."""
    ids = LetterEncoder().ids(context) + LetterEncoder().ids(text)
    kept = torch.tensor(ids[-(MAX_LENGTH + 1) :])
    with torch.no_grad():
        logits: Tensor = gpt(kept[None, :-1], torch.arange(len(kept) - 1)[None], None)[0]
    found = logits.double().log_softmax(-1).gather(-1, kept[1:, None])
    return float(found[-len(text) :].sum())


def test_scores_are_those_of_the_logits(model: tuple[object, torch.nn.Module]) -> None:
    asked = items(30)
    for found, one in zip(scores(model[0], asked), asked, strict=True):
        wanted = [from_logits(model[1], request.context, request.text) for request in one.requests]  # type: ignore
        assert found == pytest.approx(wanted, abs=2e-5)


def test_scores_are_the_same_bits_beside_other_items(model: tuple[object, torch.nn.Module]) -> None:
    asked = items(30)
    whole = scores(model[0], asked)
    assert scores(model[0], asked[::-1])[::-1] == whole
    assert [scores(model[0], [one])[0] for one in asked[:8]] == whole[:8]
    assert scores(model[0], [replace(one, requests=one.requests[:2]) for one in asked]) == [two[:2] for two in whole]
