"""spaCy's tokens of English text, with those of each chunk between white space remembered.

spaCy itself remembers chunks, but not in a memory zone, and without zones it grows with every new word. Here what has
not been met for long is forgotten.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Set
from functools import cached_property
from itertools import chain
from typing import Any, NamedTuple

from data_prep.text.words import OTHER, PUNCTUATION, TERMINAL, Token

_REMEMBERED_CHARACTERS = 2_000_000
"""Characters of different chunks. Up to twice as many are kept, those met since the last so many and those before: some
80 MB a process."""
_BREAK = re.compile(r"((?:[^\S ]|\s\s)\s*)")
"""White space that is not a single space, which to spaCy is a token of its own."""


class _Chunk(NamedTuple):
    """The tokens of a text without white space, or of a line."""

    words: tuple[str, ...]
    kinds: str
    """The kind of each: `TERMINAL`, `PUNCTUATION` or `OTHER`."""


class SpacyTokens:
    """Imports spaCy with the first text."""

    def __init__(self) -> None:
        self._known: dict[str, _Chunk | None] = {}
        self._before: dict[str, _Chunk | None] = {}
        self._characters = 0

    def words(self, text: str) -> list[str]:
        """Return the words of a text, without white space."""
        chunks = self._read(text.split())
        if None in chunks:
            return list(chain.from_iterable(map(self._words_of_line, _BREAK.split(text)[::2])))
        return list(chain.from_iterable(chunk.words for chunk in chunks if chunk))

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
        if None in chunks:
            return [word for begin, end, _ in self._split_whole(line) if (word := line[begin:end].strip())]
        return chain.from_iterable(chunk.words for chunk in chunks if chunk)

    def _tokens_of_line(self, line: str, begin: int) -> Iterator[Token]:
        chunks = self._read(line.split())
        if None in chunks:
            yield from ((begin + start, begin + end, kind) for start, end, kind in self._split_whole(line))
            return
        if line.startswith(" "):
            yield begin, begin + 1, OTHER
            begin += 1
        for chunk in filter(None, chunks):
            for word, kind in zip(chunk.words, chunk.kinds, strict=True):
                yield begin, begin + len(word), kind
                begin += len(word)
            begin += 1

    def _read(self, chunks: list[str]) -> list[_Chunk | None]:
        """The tokens of each; None where they depend on the chunks beside it."""
        if self._characters > _REMEMBERED_CHARACTERS:
            self._known, self._before, self._characters = {}, self._known, 0
        known, before = self._known, self._before
        missing = {chunk for chunk in chunks if chunk not in known}
        if missing:
            self._characters += sum(map(len, missing))
            again = missing & before.keys()
            known.update((chunk, before[chunk]) for chunk in again)
            self._read_new(missing - again)
        return [known[chunk] for chunk in chunks]

    def _read_new(self, chunks: Set[str]) -> None:
        if not chunks:
            return
        split = self._split  # What it is made of has to outlive the zone.
        with self._language.memory_zone():
            self._known.update((chunk, self._read_chunk(chunk, split)) for chunk in chunks)

    def _read_chunk(self, chunk: str, split: Callable[[str], Iterable[Any]]) -> _Chunk | None:
        """spaCy splits each chunk by itself, then looks for smileys and their like among the tokens of a whole text.

        What it finds in a chunk may give way to a longer find that reaches into the next, even one that comes to
        nothing for the space within: ``: (`` stops it from making one token of the ``(:`` in ``: (:class:``. So where
        it finds nothing, a chunk's tokens are always these; elsewhere, those between two white space tokens are.
        """
        words = tuple(token.text for token in split(chunk))
        if len(words) > 1 and words != tuple(token.text for token in self._language.tokenizer(chunk)):
            return None
        return _Chunk(words, "".join(map(self._kind, words)))

    def _split_whole(self, line: str) -> list[Token]:
        with self._language.memory_zone():
            tokens = self._language.tokenizer(line)
            return [(token.idx, token.idx + len(token), self._kind(token.text)) for token in tokens]

    def _kind(self, word: str) -> str:
        if word in self._terminals:
            return TERMINAL
        return PUNCTUATION if self._is_punctuation(word) else OTHER

    @cached_property
    def _language(self) -> Any:
        import spacy

        language: Any = spacy.blank("en")
        # Of every new word spaCy computes 23 attributes; tokens do not depend on them.
        language.vocab.lex_attr_getters.clear()
        return language

    @cached_property
    def _split(self) -> Callable[[str], Iterable[Any]]:
        """spaCy's tokenizer without the search in the whole text: it is for those of its special cases, such as
        smileys, that have an affix when they are added."""
        from spacy.tokenizer import Tokenizer

        full = self._language.tokenizer
        adding = True

        def unless_adding(find: Callable[[str], Any]) -> Callable[[str], Any]:
            return lambda text: None if adding else find(text)

        split = Tokenizer(
            self._language.vocab,
            rules=full.rules,
            prefix_search=unless_adding(full.prefix_search),
            suffix_search=unless_adding(full.suffix_search),
            infix_finditer=lambda text: () if adding else full.infix_finditer(text),
            token_match=full.token_match,
            url_match=full.url_match,
        )
        adding = False
        return split

    @cached_property
    def _terminals(self) -> frozenset[str]:
        from spacy.pipeline import Sentencizer

        return frozenset(Sentencizer.default_punct_chars)

    @cached_property
    def _is_punctuation(self) -> Callable[[str], bool]:
        from spacy.lang.lex_attrs import is_punct

        return is_punct
