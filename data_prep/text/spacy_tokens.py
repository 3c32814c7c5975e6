"""spaCy's tokens of English text, with those of each chunk between white space remembered.

What has not been met for long is forgotten, so that memory stays flat.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import accumulate, chain
from sys import intern
from typing import NamedTuple

from data_prep.text.spacy_rules import SpacyRules
from data_prep.text.words import OTHER, PUNCTUATION, TERMINAL, Token

_REMEMBERED_CHARACTERS = 2_000_000
"""Characters of different chunks. Up to twice as many are kept, those met since the last so many and those before: some
80 MB a process."""
_BREAK = re.compile(r"((?:[^\S ]|\s\s)\s*)")
"""White space that is not a single space, which to spaCy is a token of its own."""


class _Chunk(NamedTuple):
    """The tokens of a text without white space."""

    words: tuple[str, ...]
    kinds: str
    """The kind of each: `TERMINAL`, `PUNCTUATION` or `OTHER`."""
    depends: bool
    """Whether what is beside it may change them: there are other tokens in it once exceptions are looked for."""


class SpacyTokens:
    """Imports spaCy with the first text."""

    def __init__(self) -> None:
        self._known: dict[str, _Chunk] = {}
        self._before: dict[str, _Chunk] = {}
        self._characters = 0

    def words(self, text: str) -> list[str]:
        """Return the words of a text, without white space."""
        chunks = self._read(text.split())
        if any(chunk.depends for chunk in chunks):
            return list(chain.from_iterable(map(self._words_of_line, _BREAK.split(text)[::2])))
        return list(chain.from_iterable(chunk.words for chunk in chunks))

    def tokens(self, text: str) -> Iterator[Token]:
        """Yield the tokens of a text, white space too: one space behind a word belongs to the word, more is a token."""
        begin = 0
        for number, piece in enumerate(_BREAK.split(text)):
            if number % 2 == 0:
                yield from self._tokens_of_line(piece, begin)
            elif not begin or not piece.startswith(" "):
                yield begin, begin + len(piece), OTHER
            else:
                yield begin + 1, begin + len(piece), OTHER
            begin += len(piece)

    def _words_of_line(self, line: str) -> Iterable[str]:
        chunks = self._read(line.split())
        if any(chunk.depends for chunk in chunks):
            return [word for _, word in self._join_exceptions(line, chunks)]
        return chain.from_iterable(chunk.words for chunk in chunks)

    def _tokens_of_line(self, line: str, begin: int) -> Iterator[Token]:
        chunks = self._read(line.split())
        if line.startswith(" "):
            yield begin, begin + 1, OTHER
        if any(chunk.depends for chunk in chunks):
            for start, word in self._join_exceptions(line, chunks):
                yield begin + start, begin + start + len(word), self._kind(word)
            return
        begin += line.startswith(" ")
        for chunk in chunks:
            for word, kind in zip(chunk.words, chunk.kinds, strict=True):
                yield begin, begin + len(word), kind
                begin += len(word)
            begin += 1

    def _join_exceptions(self, line: str, chunks: Sequence[_Chunk]) -> list[tuple[int, str]]:
        """Begin and text of each token of a line, but for a space that it begins with."""
        begins: list[int] = []
        begin = int(line.startswith(" "))
        for chunk in chunks:
            for word in chunk.words:
                begins.append(begin)
                begin += len(word)
            begin += 1
        words = list(chain.from_iterable(chunk.words for chunk in chunks))
        return self._rules.join_exceptions(line, words, begins)

    def _read(self, chunks: list[str]) -> list[_Chunk]:
        if self._characters > _REMEMBERED_CHARACTERS:
            self._known, self._before, self._characters = {}, self._known, 0
        known, before = self._known, self._before
        for chunk in {chunk for chunk in chunks if chunk not in known}:
            self._characters += len(chunk)
            known[chunk] = before[chunk] if chunk in before else self._read_chunk(chunk)
        return [known[chunk] for chunk in chunks]

    def _read_chunk(self, chunk: str) -> _Chunk:
        """spaCy splits each chunk by itself, then looks for exceptions among the tokens of a whole text.

        Where it finds none in a chunk that gives other tokens, what is beside the chunk does not change that.
        """
        words = tuple(map(intern, self._rules.split(chunk)))
        begins = list(accumulate(map(len, words), initial=0))[:-1]
        depends = words != tuple(word for _, word in self._rules.join_exceptions(chunk, words, begins))
        return _Chunk(words, "".join(map(self._kind, words)), depends)

    def _kind(self, word: str) -> str:
        if word in self._terminals:
            return TERMINAL
        return PUNCTUATION if self._is_punctuation(word) else OTHER

    @cached_property
    def _rules(self) -> SpacyRules:
        return SpacyRules()

    @cached_property
    def _terminals(self) -> frozenset[str]:
        from spacy.pipeline import Sentencizer

        return frozenset(Sentencizer.default_punct_chars)

    @cached_property
    def _is_punctuation(self) -> Callable[[str], bool]:
        from spacy.lang.lex_attrs import is_punct

        return is_punct
