"""Rows of an API's answers: of what it said of a text that is a document's own, token by token."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.distillation.rows_writer import make_records
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer
from data_prep.teach.answers import Answer, Answers
from data_prep.teach.continuation import text_hash
from data_prep.teach.score import Covered
from data_prep.teach.vocabulary import NOWHERE, byte_vocabulary

ROUNDING = 0.01
"""What probabilities of an API may add up to above 1: its logarithms are rounded."""


class AnsweredRows:
    """What answers with ``logprobs.content`` say of documents: a `data_prep.teach.score.Scores`.

    An answer counts whose tokens, one after another, are its document's text, or its end: what a teacher wrote itself
    is no distribution over the document's tokens, and belongs to ``targets: text``.
    """

    def __init__(self, answers: Answers, student: Tokenizer, k: int) -> None:
        self._answers = answers
        self._student = byte_vocabulary(student, "the data's tokenizer")
        self._k = k
        self._known: dict[bytes, int] = {}

    @property
    def identity(self) -> str:
        return f"answers {self._answers.digest}"

    def score(
        self, documents: Sequence[NDArray[Any]], between: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[Any], Covered]:
        """Do what `data_prep.teach.score.Scorer.score` does.

        Raises:
            UserError: probabilities of an answer add up to more than 1.
        """
        total = sum(map(len, documents))
        ids, probabilities = np.zeros((total, self._k), np.int64), np.zeros((total, self._k))
        start = positions = 0
        for tokens in documents:
            between()
            for row, said in self._rows(tokens).items():
                top = sorted(said.items(), key=lambda item: (-item[1], item[0]))[: self._k]
                for place, (index, probability) in enumerate(top):
                    ids[start + row, place], probabilities[start + row, place] = index, probability
            start += len(tokens)
            positions += max(len(tokens) - 1, 0)
        records = make_records(ids, probabilities)
        return records, Covered(positions, int(records["codes"].any(axis=1).sum()))

    def _rows(self, tokens: NDArray[Any]) -> dict[int, dict[int, float]]:
        """Return what is said behind the tokens of a document, by their places."""
        ids = tokens[:-1].tolist()
        text = self._student.tokenizer.decode(ids)
        raw = text.encode(errors="surrogatepass")
        begins = self._student.begins(ids, raw)
        if begins is None or int(tokens[-1]) != self._student.tokenizer.eos_id:
            return {}
        behind = {begin: row for row, begin in enumerate(begins[1:].tolist())}
        found: dict[int, dict[int, float]] = {}
        for answer in self._answers.of(text_hash(text)):
            for place, entry in _placed(answer, raw):
                if place in behind:
                    found.setdefault(behind[place], self._said(entry, answer))
        return found

    def _said(self, entry: dict[str, Any], answer: Answer) -> dict[int, float]:
        said: dict[int, float] = {}
        every: dict[bytes, float] = {}
        for one in entry.get("top_logprobs") or ():
            every[_bytes_of(one)] = every.get(_bytes_of(one), 0.0) + math.exp(one["logprob"])
        every.setdefault(_bytes_of(entry), math.exp(entry["logprob"]))
        total = math.fsum(every.values())
        if total > 1 + ROUNDING:
            raise UserError(
                f"answer to {answer.hash}: the probabilities of token {entry['token']!r} add up to {total:.4f}, above "
                "1; logprob is the natural logarithm of a probability"
            )
        for content, probability in every.items():
            if content not in self._known:
                self._known[content] = int(self._student.first_tokens([content])[0]) if content else NOWHERE
            index = self._known[content]
            if index != NOWHERE:
                said[index] = said.get(index, 0.0) + probability / max(total, 1.0)
        return said


def _placed(answer: Answer, raw: bytes) -> list[tuple[int, dict[str, Any]]]:
    """The entries of an answer with the bytes of the text at which they begin; none if it is not of this text."""
    content = answer.content or []
    pieces = [_bytes_of(entry) for entry in content]
    joined = b"".join(pieces)
    if not joined or not raw.endswith(joined):
        return []
    place, found = len(raw) - len(joined), []
    for piece, entry in zip(pieces, content, strict=True):
        found.append((place, entry))
        place += len(piece)
    return found


def _bytes_of(entry: dict[str, Any]) -> bytes:
    given = entry.get("bytes")
    return bytes(given) if isinstance(given, list) else str(entry["token"]).encode()
