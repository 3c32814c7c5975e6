"""The pieces that a part is worked on in: documents whose first token lies in a stretch of tokens of one length."""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.data.index import Index

TOKENS = 1 << 20
"""A shard's: some minutes of a large teacher on a GPU, which is what a killed process loses at most."""
TEXT_TOKENS = 1 << 16
"""A shard's where texts are written, which takes far longer than reading them."""


@dataclass(frozen=True)
class Shard:
    """Some documents of a part, one after another.

    Attributes:
        first, end: their numbers, the last of them ``end - 1``.
        token, tokens: where they begin in the ``.bin``, and how many tokens they have.
    """

    first: int
    end: int
    token: int
    tokens: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.first:010d}_{self.end:010d}"


def cut_into_shards(index: Index, tokens: int = TOKENS) -> list[Shard]:
    """Cut a part into shards of about so many tokens: a function of the part alone."""
    starts = range(0, max(index.tokens, 1), tokens)
    firsts = sorted({0, *(_first_from(index, start) for start in starts[1:]), index.documents})
    begins = [int(index.boundaries(first, first)[0]) for first in firsts]
    return [
        Shard(first, end, begin, behind - begin)
        for first, end, begin, behind in zip(firsts, firsts[1:], begins, begins[1:], strict=False)
    ]


def _first_from(index: Index, token: int) -> int:
    """The first document that begins at a token or behind it."""
    document = index.document_at(token)
    begins_there = document < index.documents and int(index.boundaries(document, document)[0]) == token
    return document if begins_there else min(document + 1, index.documents)
