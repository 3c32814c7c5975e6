"""spaCy's rules for the tokens of English text, applied in time that doubles when the text doubles.

spaCy itself copies and searches all that is left of a chunk for each character that it takes off an end, and tries an
address from each colon on: 25,000 brackets in a row take it 37 seconds. Here its expressions see the ends alone. The
tokens are the same.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

_END = 12
"""Characters of an end that are searched. No rule takes more than five, but one that takes a run of full stops."""
_CONTEXT = 4
"""Characters beside those it takes that a rule may look at."""
_REMEMBERED_ENDS = 1 << 14
_STOPS, _WHOLE_STOPS = r"\.\.+", r"(?<!\.)\.\.+"
"""A suffix, and the same without a look from each full stop of a run: the leftmost counts."""
_USER, _SHORT_USER = r"(?:\S+(?::\S*)?@)?", r"(?:\S+@)?"
"""A part of the expression for addresses, and one that matches the same without a look from each colon."""

Exceptions = Mapping[str, tuple[str, ...]]
"""Texts whose tokens do not follow from the rules."""


class SpacyRules:
    """The rules of spaCy's tokenizer for English."""

    def __init__(self) -> None:
        from spacy.lang.en import English
        from spacy.symbols import ORTH
        from spacy.util import compile_infix_regex, compile_prefix_regex, compile_suffix_regex

        rules: Any = English.Defaults
        suffixes = [_WHOLE_STOPS if rule == _STOPS else rule for rule in rules.suffixes]
        self._prefix = _remembered_length(compile_prefix_regex(rules.prefixes).match)
        self._suffix = _remembered_length(compile_suffix_regex(suffixes).search)
        self._infixes = compile_infix_regex(rules.infixes).finditer
        self._is_address = re.compile(rules.url_match.__self__.pattern.replace(_USER, _SHORT_USER)).match
        self._exceptions: Exceptions = {
            text: tuple(token[ORTH] for token in tokens) for text, tokens in rules.tokenizer_exceptions.items()
        }
        self._longest = max(map(len, self._exceptions))
        self._hidden = {
            tuple(self._split(text, {})) for text in self._exceptions if not text.isspace() and self._has_affix(text)
        }
        self._lengths: Mapping[str, Collection[int]] = _lengths_by_first(self._hidden)

    def split(self, chunk: str) -> list[str]:
        """The tokens of a text without white space, before `join_exceptions`."""
        return self._split(chunk, self._exceptions)

    def join_exceptions(self, text: str, tokens: Sequence[str], begins: Sequence[int]) -> list[tuple[int, str]]:
        """Put those of an exception, such as a smiley, for the tokens that the rules have made of it.

        They are looked for in a whole text. The longer of two that overlap counts, also where it has white space within
        and thus is no exception in the end: ``: (`` stops ``(:`` from being a token in ``: (:class:``.

        Args:
            text: of chunks and the white space between them.
            tokens: what `split` gives for each chunk.
            begins: where in the text each token begins.

        Returns:
            Begin and text of each token.
        """
        found = sorted(self._find_hidden(tokens), key=lambda span: (span[0] - span[1], span[0]))
        taken: set[int] = set()
        joined: dict[int, tuple[int, tuple[str, ...]]] = {}
        for start, stop in found:
            exception = self._exceptions.get(text[begins[start] : begins[stop - 1] + len(tokens[stop - 1])])
            if exception and start not in taken and stop - 1 not in taken:
                joined[start] = (stop, exception)
            taken.update(range(start, stop))
        return list(_with_joined(tokens, begins, joined))

    def _find_hidden(self, tokens: Sequence[str]) -> Iterator[tuple[int, int]]:
        for start, token in enumerate(tokens):
            for length in self._lengths.get(token, ()):
                stop = start + length
                if stop <= len(tokens) and tuple(tokens[start:stop]) in self._hidden:
                    yield start, stop

    def _has_affix(self, text: str) -> bool:
        return bool(self._prefix(text) or self._suffix(text) or any(True for _ in self._infixes(text)))

    def _split(self, chunk: str, exceptions: Exceptions) -> list[str]:
        """Take prefixes and suffixes off in turn, until what is left is an exception or has none."""

        def is_exception(begin: int, end: int) -> bool:
            return 0 < end - begin <= self._longest and chunk[begin:end] in exceptions

        before: list[str] = []
        behind: list[str] = []
        begin, end = 0, len(chunk)
        while begin < end and not is_exception(begin, end):
            inside = begin + self._prefix_length(chunk, begin, end)
            outside = end - self._suffix_length(chunk, inside, end)
            if inside > begin and is_exception(inside, end):
                outside = end
            elif outside < end and is_exception(begin, outside):
                inside = begin
            if (inside, outside) == (begin, end):
                break
            if inside > begin:
                before.append(chunk[begin:inside])
            if outside < end:
                behind.append(chunk[outside:end])
            begin, end = inside, outside
        return [*before, *self._split_middle(chunk[begin:end], exceptions), *reversed(behind)]

    def _prefix_length(self, chunk: str, begin: int, end: int) -> int:
        size = _END
        while True:
            head = chunk[begin : min(begin + size, end)]
            length = self._prefix(head)
            if length + _CONTEXT <= len(head) or begin + size >= end:
                return length
            size *= 2

    def _suffix_length(self, chunk: str, begin: int, end: int) -> int:
        size = _END
        while True:
            tail = chunk[max(end - size, begin) : end]
            length = self._suffix(tail)
            if length + _CONTEXT <= len(tail) or end - size <= begin:
                return length
            size *= 2

    def _split_middle(self, text: str, exceptions: Exceptions) -> Sequence[str]:
        if not text:
            return ()
        if text in exceptions:
            return exceptions[text]
        if self._is_address(text):
            return (text,)
        return list(_around(text, self._infixes(text)))


def _remembered_length(find: Callable[[str], re.Match[str] | None]) -> Callable[[str], int]:
    """A function that says how many characters another finds in a text."""

    def length(text: str) -> int:
        match = find(text)
        return match.end() - match.start() if match else 0

    remembered = lru_cache(_REMEMBERED_ENDS)(length)
    return lambda text: remembered(text) if len(text) <= _END else length(text)


def _lengths_by_first(sequences: Collection[tuple[str, ...]]) -> Mapping[str, Collection[int]]:
    lengths: dict[str, set[int]] = defaultdict(set)
    for sequence in sequences:
        lengths[sequence[0]].add(len(sequence))
    return {first: sorted(found) for first, found in lengths.items()}


def _around(text: str, infixes: Iterator[re.Match[str]]) -> Iterator[str]:
    """The infixes and what is between them; one that the text begins with is none."""
    begin = 0
    for infix in infixes:
        if infix.start() > 0:
            yield from filter(None, (text[begin : infix.start()], infix[0]))
            begin = infix.end()
    if begin < len(text):
        yield text[begin:]


def _with_joined(
    tokens: Sequence[str], begins: Sequence[int], joined: Mapping[int, tuple[int, Sequence[str]]]
) -> Iterator[tuple[int, str]]:
    stop = 0
    for index, (begin, token) in enumerate(zip(begins, tokens, strict=True)):
        if index in joined:
            stop, exception = joined[index]
            for part in exception:
                yield begin, part
                begin += len(part)
        elif index >= stop:
            yield begin, token
