"""An API's answers: JSON lines of a document's hash and the text that continues it, and the prompts they answer."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from custom_modules.errors import UserError
from custom_modules.files import readable, whole_stream
from custom_modules.text import say
from data_prep.teach.continuation import Opening, opening
from data_prep.teach.parts import DistilledPart
from data_prep.teach.vocabulary import ByteVocabulary

_HEX = frozenset("0123456789abcdef")
_HASH_LENGTH = 64


@dataclass(frozen=True)
class Answer:
    """One line.

    Attributes:
        hash: of the document: see `data_prep.teach.continuation.text_hash`.
        text: what follows the prompt.
        ended: whether the text ends there, and was not cut for its length.
        content: OpenAI's ``logprobs.content``, an entry a token; None where there is none.
    """

    hash: str
    text: str
    ended: bool
    content: list[dict[str, Any]] | None


def read_answer(line: bytes, where: str) -> Answer:
    """Read one line.

    Args:
        where: for the message.

    Raises:
        UserError: it is no answer.
    """
    try:
        plain = orjson.loads(line)
    except ValueError as error:
        raise UserError(f"{where}: not JSON ({error}); an answer is a line of hash and text") from None
    if not isinstance(plain, dict):
        raise UserError(f"{where}: no object; an answer is a line of hash and text")
    text_hash, text = plain.get("hash"), plain.get("text")
    if not isinstance(text_hash, str) or len(text_hash) != _HASH_LENGTH or set(text_hash) - _HEX:
        raise UserError(f"{where}: hash={text_hash!r}: give the one of its prompt, 64 hexadecimal digits")
    if not isinstance(text, str):
        raise UserError(f"{where}: text={text!r}: give the text that continues the prompt")
    content = _content(plain.get("logprobs"), where)
    return Answer(text_hash, text, plain.get("finish_reason") != "length", content)


def _content(logprobs: object, where: str) -> list[dict[str, Any]] | None:
    content = logprobs.get("content") if isinstance(logprobs, dict) else logprobs
    if content is None:
        return None
    if not isinstance(content, list) or not all(map(_is_entry, content)):
        raise UserError(
            f"{where}: logprobs.content: not OpenAI's form, a list of tokens with token, logprob and top_logprobs; "
            "give that, or leave logprobs out"
        )
    return content


def _is_entry(entry: object) -> bool:
    return (
        isinstance(entry, dict)
        and isinstance(entry.get("token"), str)
        and _are_bytes(entry.get("bytes"))
        and isinstance(entry.get("logprob"), int | float)
        and entry["logprob"] <= 1e-6
        and all(map(_is_entry, entry.get("top_logprobs") or ()))
    )


def _are_bytes(given: object) -> bool:
    return given is None or (
        isinstance(given, list) and all(isinstance(byte, int) and 0 <= byte < 256 for byte in given)
    )


class Answers:
    """Files of answers, of any size: their places are known, and each is read when it is needed.

    Several answers to one document are its tries, in their order.

    Raises:
        UserError: a line is no answer; names it.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = list(files)
        self._places = np.array(list(self._found()), np.dtype("u8,u4,u8"))
        self._places.sort(order=("f0", "f1", "f2"))

    def _found(self) -> Iterator[tuple[int, int, int]]:
        for number, path in enumerate(self._files):
            with readable(path), path.open("rb") as stream:
                place = 0
                for count, line in enumerate(stream, 1):
                    if line.strip():
                        yield _key(read_answer(line, f"{path}:{count}").hash), number, place
                    place += len(line)

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def digest(self) -> str:
        """Identifies the answers."""
        whole = hashlib.sha256()
        for path in self._files:
            with readable(path), path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())
        return whole.hexdigest()

    @cached_property
    def most(self) -> int:
        """The most answers that a document has."""
        _, counts = np.unique(self._places["f0"], return_counts=True)
        return int(counts.max(initial=0))

    def of(self, text_hash: str) -> list[Answer]:
        """Return the answers to a document, in their order."""
        first, end = (np.searchsorted(self._places["f0"], _key(text_hash), side) for side in ("left", "right"))
        every = [self._read(*place) for place in self._places[first:end].tolist()]
        return [answer for answer in every if answer.hash == text_hash]

    def _read(self, key: int, number: int, place: int) -> Answer:
        path = self._files[number]
        with readable(path), path.open("rb") as stream:
            stream.seek(place)
            return read_answer(stream.readline(), f"{path}: byte {place}")


def _key(text_hash: str) -> int:
    return int(text_hash[:16], 16)


@dataclass(frozen=True)
class AnswersWriter:
    """Answers in the place of a model: a `data_prep.teach.written.Writer`, whose tries are a document's answers."""

    answers: Answers
    tries: int

    @property
    def identity(self) -> str:
        return f"answers {self.answers.digest}, tries {self.tries}"

    def write(
        self, openings: Sequence[Opening], attempt: int, between: Callable[[], None]
    ) -> list[tuple[str, bool] | None]:
        """Take the answers of the documents."""
        found: list[tuple[str, bool] | None] = []
        for one in openings:
            between()
            answers = self.answers.of(one.hash)
            chosen = answers[attempt] if attempt < len(answers) else None
            found.append(None if chosen is None or not chosen.text else (chosen.text, chosen.ended))
        return found


def write_prompts(path: Path, parts: Sequence[DistilledPart], student: ByteVocabulary, prefix_tokens: int) -> int:
    """Write what an API is to continue: JSON lines of ``hash``, ``prompt`` and ``max_tokens``, of the student's.

    Returns:
        How many.

    Raises:
        UserError: the file cannot be written.
    """
    count = 0
    with whole_stream(path) as stream:
        for part in parts:
            for one in _openings(part, student, prefix_tokens):
                line = {"hash": one.hash, "prompt": one.text, "max_tokens": one.length - len(one.ids)}
                stream.write(orjson.dumps(line) + b"\n")
                count += 1
    say(f"{path}: {count:,} prompts")
    return count


def _openings(part: DistilledPart, student: ByteVocabulary, prefix_tokens: int) -> Iterator[Opening]:
    for shard in part.shards(1 << 20):
        for tokens in part.documents(shard):
            one = opening(tokens, student, prefix_tokens)
            if one is not None:
                yield one
