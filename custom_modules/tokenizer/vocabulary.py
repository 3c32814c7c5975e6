"""What the ids of a vocabulary stand for, whatever library wrote it, and which ids of two vocabularies are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

SPACE = "\u2581"
"""How SentencePiece writes a space."""


class Kind(StrEnum):
    """What an id is for."""

    TEXT = "text"
    """Some bytes of text."""
    BYTE = "byte"
    """A byte of a character that the vocabulary does not have: SentencePiece's byte fallback."""
    CONTROL = "control"
    """Never made of text: bos, eos, unk and the like."""
    UNUSED = "unused"
    """A row of the model that no token has, or that encoding never gives."""


@dataclass(frozen=True)
class Token:
    """An id's meaning.

    Attributes:
        content: the bytes of text that it stands for; of a control token its name.
        role: ``bos``, ``eos``, ``unk`` or ``pad`` where the tokenizer says so.
    """

    kind: Kind
    content: bytes
    role: str | None = None


def piece_bytes(piece: str) -> bytes:
    """The text of a SentencePiece piece, in UTF-8."""
    return piece.replace(SPACE, " ").encode()


def byte_of(piece: str) -> bytes:
    """The byte of a byte-fallback piece, ``<0x0A>``."""
    return bytes([int(piece[3:5], 16)])


def roles(eos: int | None, bos: int | None, unk: int | None, pad: int | None) -> dict[int, str]:
    """Role by id. A token with several, as where the eos also pads, has the first."""
    named = {"pad": pad, "unk": unk, "bos": bos, "eos": eos}
    return {index: role for role, index in named.items() if index is not None and index >= 0}


def unused(index: int) -> Token:
    """A row without a token: the same as another vocabulary's at that place."""
    return Token(Kind.UNUSED, str(index).encode())


def match(old: Sequence[Token], new: Sequence[Token]) -> list[int | None]:
    """Find for each id of ``new`` the id of ``old`` that stands for the same; no old id twice.

    Tokens with a role are the same as the one with that role, else all that equal in kind and content. Of what is left,
    control tokens are the same by name, and a byte is the same whether one vocabulary has it as text and the other
    for byte fallback. Where several ids of a vocabulary are the same, they are matched in order.
    """
    found: list[int | None] = [None] * len(new)
    taken: set[int] = set()
    for key in (_meaning, _name, _byte):
        places = _places(old, key, taken)
        for index, token in enumerate(new):
            candidates = places.get(key(token))
            if found[index] is None and candidates:
                found[index] = candidates.pop()
        taken = {index for index in found if index is not None}
    return found


def _places(tokens: Sequence[Token], key: Callable[[Token], Hashable], taken: set[int]) -> Mapping[Hashable, list[int]]:
    """The ids by key, each list from its last to its first."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index in reversed(range(len(tokens))):
        if index not in taken and key(tokens[index]) is not None:
            places[key(tokens[index])].append(index)
    return places


def _meaning(token: Token) -> Hashable:
    return (token.role,) if token.role else (token.kind, token.content)


def _name(token: Token) -> Hashable:
    return token.content if token.kind is Kind.CONTROL else None


def _byte(token: Token) -> Hashable:
    return token.content if token.kind in (Kind.TEXT, Kind.BYTE) and len(token.content) == 1 else None
