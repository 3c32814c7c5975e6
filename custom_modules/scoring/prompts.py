"""Items that want a text generated, as rows of tokens in passes of fixed shapes. Needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.passes import Pass
from custom_modules.scoring.shapes import Shapes
from custom_modules.tasks.items import Answer, Generation, Item

Text = tuple[str, int]
"""What was generated, up to where it stops, and how many tokens that took."""


@dataclass(frozen=True)
class Prompt:
    """What a text is generated behind."""

    tokens: NDArray[np.int32]
    """``[n]``, without what was cut from the left."""
    until: tuple[str, ...]
    max_new_tokens: int

    @property
    def key(self) -> str:
        """Return what no other prompt is called."""
        said = json.dumps([self.until, self.max_new_tokens]).encode()
        return hashlib.sha256(said + b"\0" + self.tokens.tobytes()).hexdigest()[:32]


@dataclass(frozen=True)
class PromptBatch:
    """A pass's numbers, for a model."""

    tokens: NDArray[np.int64]
    """``[rows, length]``, filled up from the left."""
    mask: NDArray[np.int64]
    """``[rows, length]``: 1 where a token is."""
    until: tuple[tuple[str, ...], ...]
    """Of the rows that are wanted; those behind them fill the pass up."""
    max_new_tokens: int


class Prompts:
    """All prompts of some items, and the passes in which their texts are generated.

    Args:
        items: whose requests are generations.
        max_length: tokens that the model reads at most, the new ones among them.
    """

    def __init__(self, items: Sequence[Item], encoder: Encoder, max_length: int, shapes: Shapes) -> None:
        self.prompts: list[Prompt] = []
        self._decode = encoder.decode
        self._eos_ids = encoder.eos_ids
        self._numbers: dict[str, int] = {}
        self._cut: list[tuple[tuple[int, int], ...]] = []
        for item in items:
            self._cut.append(tuple(self._place(request, encoder, max_length) for request in item.requests))
        self.passes = list(_passes(self.prompts, shapes))

    def _place(self, request: object, encoder: Encoder, max_length: int) -> tuple[int, int]:
        """Return a prompt's number, -1 where new tokens leave it no room, and the tokens that were cut."""
        assert isinstance(request, Generation)
        ids = encoder.prompt(request.context)
        room = max_length - request.max_new_tokens
        if room < 1:
            return -1, len(ids)
        prompt = Prompt(np.array(ids[-room:], np.int32), request.until, request.max_new_tokens)
        number = self._numbers.setdefault(prompt.key, len(self.prompts))
        if number == len(self.prompts):
            self.prompts.append(prompt)
        return number, max(0, len(ids) - room)

    @property
    def tokens(self) -> int:
        """What a model reads for all of them, and the most that it generates."""
        return sum(len(prompt.tokens) + prompt.max_new_tokens for prompt in self.prompts)

    def batch(self, number: int) -> PromptBatch:
        """Return a pass's numbers."""
        wanted = self.passes[number]
        members = [self.prompts[index] for index in wanted.members]
        tokens, mask = np.zeros(wanted.shape, np.int64), np.zeros(wanted.shape, np.int64)
        for place in range(wanted.count):
            prompt = members[place] if place < len(members) else members[0]
            tokens[place, wanted.length - len(prompt.tokens) :] = prompt.tokens
            mask[place, wanted.length - len(prompt.tokens) :] = 1
        return PromptBatch(tokens, mask, tuple(prompt.until for prompt in members), members[0].max_new_tokens)

    def texts(self, number: int, generated: Sequence[Sequence[int]]) -> list[Text]:
        """Return the texts of a pass's prompts.

        Args:
            generated: each prompt's new tokens, up to the one with which it ended.
        """
        found = []
        for index, ids in zip(self.passes[number].members, generated, strict=True):
            kept = [*ids[:-1]] if ids and ids[-1] in self._eos_ids else [*ids]
            text = self._decode(kept)
            for end in self.prompts[index].until:
                text = text.split(end)[0] if end else text
            found.append((text, len(ids)))
        return found

    def answers(self, texts: Sequence[Text]) -> list[tuple[Answer, ...]]:
        """Return each item's answers.

        Args:
            texts: by prompt.
        """
        return [tuple(_answer(number, cut, texts) for number, cut in places) for places in self._cut]


def _answer(number: int, cut: int, texts: Sequence[Text]) -> Answer:
    if number < 0:
        return Answer(text="", cut=cut, nothing_left=True)
    text, tokens = texts[number]
    return Answer(text=text, tokens=tokens, cut=cut)


def _passes(prompts: Sequence[Prompt], shapes: Shapes) -> Iterator[Pass]:
    buckets: dict[tuple[int, int], list[int]] = {}
    for number, prompt in enumerate(prompts):
        buckets.setdefault((shapes.length(len(prompt.tokens)), prompt.max_new_tokens), []).append(number)
    for (length, new), numbers in sorted(buckets.items(), reverse=True):
        count = shapes.generated_rows(length + new)
        for begin in range(0, len(numbers), count):
            yield Pass(length, count, tuple(numbers[begin : begin + count]))
