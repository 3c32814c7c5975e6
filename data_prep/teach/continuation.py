"""The beginning of a document that a teacher continues, and the tokens of what it has made of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.teach.vocabulary import NOWHERE, ByteVocabulary


@dataclass(frozen=True)
class Opening:
    """A document's beginning.

    Attributes:
        hash: SHA-256 of the document's whole text in UTF-8, in hexadecimal.
        ids: of the student: the first ``prefix_tokens`` tokens, or up to three more where a character would be cut.
        text: what they stand for.
        rest: what the document goes on with.
        length: of the whole document, in tokens of the student, its end among them.
    """

    hash: str
    ids: list[int]
    text: str
    rest: str
    length: int


def text_hash(text: str) -> str:
    """Return what a document is known by: the SHA-256 of its text in UTF-8, in hexadecimal."""
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def opening(tokens: NDArray[Any], student: ByteVocabulary, prefix_tokens: int) -> Opening | None:
    """Cut a document behind its prefix.

    Args:
        tokens: [t] of the student, the end of the document among them.

    Returns:
        None where nothing follows the prefix, or the ids are not what the tokenizer reads.
    """
    if int(tokens[-1]) != student.tokenizer.eos_id or len(tokens) - 1 <= prefix_tokens:
        return None
    ids = tokens[:-1].tolist()
    text = student.tokenizer.decode(ids)
    raw = text.encode(errors="surrogatepass")
    begins = student.begins(ids, raw)
    if begins is None:
        return None
    for cut in range(prefix_tokens, len(ids)):
        place = int(begins[cut])
        if raw[place] & 0xC0 != 0x80:  # not in the middle of a character
            before, behind = (piece.decode(errors="surrogatepass") for piece in (raw[:place], raw[place:]))
            return Opening(text_hash(text), ids[:cut], before, behind, len(tokens))
    return None


def continued(opening: Opening, continuation: str, ended: bool, student: ByteVocabulary) -> list[int] | None:
    """Return the student's tokens of a document's beginning with another continuation, cut to the document's length.

    The opening keeps its own tokens: where the whole text would be cut otherwise, what lies between is said by the
    longest tokens there are.

    Args:
        ended: whether the text ends there; then the end of a document is added, where there is room.

    Returns:
        None where the student cannot encode it, or nothing is there.
    """
    text = opening.text + continuation
    if not student.tokenizer.can_encode(text):
        return None
    raw, place = text.encode(errors="surrogatepass"), len(opening.text.encode(errors="surrogatepass"))
    ids = student.tokenizer.encode(text)
    begins = student.begins(ids, raw)
    if begins is None:
        return None
    first = int(np.searchsorted(begins, place))
    between = _said_by_longest(raw[place : int(begins[first])], student)
    if between is None or not continuation:
        return None
    end = [student.tokenizer.eos_id] if ended else []
    return [*opening.ids, *between, *ids[first:], *end][: opening.length]


def _said_by_longest(content: bytes, student: ByteVocabulary) -> list[int] | None:
    ids: list[int] = []
    while content:
        index = student.longest_prefix(content)
        if index == NOWHERE:
            return None
        ids.append(index)
        content = content[len(student.contents[index]) :]
    return ids
