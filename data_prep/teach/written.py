"""What a teacher writes of the documents of a shard, and what of it is kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from custom_modules.tokenizer import Tokenizer
from data_prep.input.documents import Document, Removal
from data_prep.steps.decontaminate import Decontaminate
from data_prep.teach.continuation import Opening, continued, opening
from data_prep.teach.drawn import Prompt, Sampling, draw, drawable, seed_of
from data_prep.teach.teacher import TeacherFolder, load_teacher
from data_prep.teach.vocabulary import ByteVocabulary, byte_vocabulary

Continuation = tuple[str, bool]
"""What follows a document's opening, and whether the text ends there."""


@dataclass(frozen=True)
class Counted:
    """What has become of documents: see `custom_modules.distillation.texts.TextsNote`."""

    texts: int = 0
    too_short: int = 0
    without: int = 0
    generated_again: int = 0
    dropped: int = 0

    def __add__(self, other: Counted) -> Counted:
        pairs = ((field.name, getattr(self, field.name) + getattr(other, field.name)) for field in fields(self))
        return Counted(**dict(pairs))


class Writer(Protocol):
    """Where continuations come from."""

    @property
    def identity(self) -> str:
        """All that they follow from, but the documents and the prefix."""
        ...

    @property
    def tries(self) -> int:
        """How often a text that is not clean is written again."""
        ...

    def write(
        self, openings: Sequence[Opening], attempt: int, between: Callable[[], None]
    ) -> list[Continuation | None]:
        """Continue documents, for the so many-th time from 0; None where there is nothing to be had."""
        ...


@dataclass(frozen=True)
class ModelWriter:
    """A teacher with weights that writes: a `Writer`."""

    folder: TeacherFolder
    length: int | None
    sampling: Sampling
    tries: int
    device: torch.device

    @property
    def identity(self) -> str:
        return f"{self.folder.digest}, length {self.length}, {self.sampling}, tries {self.tries}"

    @cached_property
    def _loaded(self) -> tuple[Any, ByteVocabulary]:
        teacher = load_teacher(self.folder, self.device, self.length)
        return teacher, byte_vocabulary(self.folder.tokenizer, str(self.folder.path))

    def write(
        self, openings: Sequence[Opening], attempt: int, between: Callable[[], None]
    ) -> list[Continuation | None]:
        teacher, own = self._loaded
        prompts = [self._prompt(one, attempt) for one in openings]
        known = [prompt for prompt in prompts if prompt is not None]
        drawn = iter(draw(teacher, known, self.sampling, drawable(teacher, own.contents), between))
        return [None if prompt is None else _text(*next(drawn), own) for prompt in prompts]

    def _prompt(self, one: Opening, attempt: int) -> Prompt | None:
        tokenizer = self.folder.tokenizer
        if not tokenizer.can_encode(one.text + one.rest):
            return None
        ids = tokenizer.encode(one.text)
        most = max(1, len(tokenizer.encode(one.text + one.rest)) - len(ids) + 1)
        return Prompt([self.folder.first_id, *ids], most, seed_of(one.hash, attempt))


def _text(ids: list[int], ended: bool, vocabulary: ByteVocabulary) -> Continuation | None:
    text = b"".join(vocabulary.contents[index] for index in ids).decode(errors="ignore")
    return (text, ended) if text else None


@dataclass(frozen=True)
class Alternatives:
    """Documents' alternatives, tokenized, and what has become of them.

    Attributes:
        tokens, lengths: of one text a document, one after another; a lone end of a document where there is none.
        counted: how many there are, and why not more.
    """

    tokens: NDArray[Any]
    lengths: NDArray[np.int32]
    counted: Counted


class AlternativesMaker:
    """Makes alternatives to documents.

    Args:
        writer: where their continuations come from.
        student: the tokenizer of the data.
        prefix_tokens: tokens that an alternative has of its document.
        step: which texts it refuses; None: none.
    """

    def __init__(self, writer: Writer, student: Tokenizer, prefix_tokens: int, step: Decontaminate | None) -> None:
        self._writer = writer
        self._student = byte_vocabulary(student, "the data's tokenizer")
        self._prefix_tokens = prefix_tokens
        self._step = step

    def make(
        self, documents: Sequence[NDArray[Any]], dtype: np.dtype[Any], between: Callable[[], None]
    ) -> Alternatives:
        """Make an alternative to each document, as far as there is one."""
        openings = {
            number: one
            for number, tokens in enumerate(documents)
            if (one := opening(tokens, self._student, self._prefix_tokens)) is not None
        }
        made: dict[int, list[int]] = {}
        pending, without = self._attempt(openings, 0, made, between)
        again = given_up = 0
        for attempt in range(1, self._writer.tries + 1):
            left, missing = self._attempt(pending, attempt, made, between) if pending else ({}, 0)
            again, given_up = again + len(pending) - missing, given_up + missing
            pending = left
        none = [self._student.tokenizer.eos_id]
        every = [made.get(number, none) for number in range(len(documents))]
        lengths = np.array([len(ids) for ids in every], np.int32)
        counted = Counted(len(made), len(documents) - len(openings), without, again, given_up + len(pending))
        return Alternatives(np.concatenate([np.array(ids, dtype) for ids in every]), lengths, counted)

    def _attempt(
        self, pending: Mapping[int, Opening], attempt: int, made: dict[int, list[int]], between: Callable[[], None]
    ) -> tuple[dict[int, Opening], int]:
        """Write what is pending; return what of it is not clean, and for how many there is nothing to be had."""
        unclean: dict[int, Opening] = {}
        missing = 0
        found = self._writer.write(list(pending.values()), attempt, between)
        for (number, one), continuation in zip(pending.items(), found, strict=True):
            ids = None if continuation is None else continued(one, *continuation, self._student)
            if ids is None or continuation is None:
                missing += 1
            elif self._is_clean(one.text + continuation[0]):
                made[number] = ids
            else:
                unclean[number] = one
        return unclean, missing

    def _is_clean(self, text: str) -> bool:
        return self._step is None or not isinstance(self._step(Document(text, 1)), Removal)
