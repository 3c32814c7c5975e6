"""Word splitters for datatrove's filters, which take one where they take a language.

Importing this module imports datatrove; spaCy is imported with the first text.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from functools import lru_cache

from datatrove.utils.text import TERMINAL_PUNCTUATION
from datatrove.utils.typeshelper import Languages
from datatrove.utils.word_tokenizers import WordTokenizer

from data_prep.text.spacy_tokens import SpacyTokens
from data_prep.text.words import Token, regex_tokens, regex_words, sentences


@lru_cache
def splitter(words: str) -> WordTokenizer:
    """Return the process's one splitter of a kind: by it the library knows the words of the last texts again.

    Args:
        words: ``spacy`` or ``regex``.
    """
    return _SpacyWords() if words == "spacy" else _RegexWords()


class _Splitter(WordTokenizer):
    @abstractmethod
    def tokens(self, text: str) -> Iterable[Token]:
        """Return the words and marks of a text, in order."""

    def span_tokenize(self, text: str) -> list[tuple[int, int]]:
        return list(sentences(self.tokens(text)))

    def sent_tokenize(self, text: str) -> list[str]:
        return [sentence for begin, end in self.span_tokenize(text) if (sentence := text[begin:end].strip())]


class _RegexWords(_Splitter):
    def word_tokenize(self, text: str) -> list[str]:
        return regex_words(text)

    def tokens(self, text: str) -> Iterable[Token]:
        return regex_tokens(text, TERMINAL_PUNCTUATION)


class _SpacyWords(_Splitter):
    """The words and sentences of the library's own splitter for English, several times as fast."""

    def __init__(self) -> None:
        super().__init__(Languages.english)
        self._spacy = SpacyTokens()

    def word_tokenize(self, text: str) -> list[str]:
        return self._spacy.words(_readable(text))

    def tokens(self, text: str) -> Iterable[Token]:
        return self._spacy.tokens(_readable(text))


_BREAKS_SPACY = "IS_ALPHA"


def _readable(text: str) -> str:
    """Take out the one word that makes spaCy fail: the library does so once it has."""
    return text.replace(_BREAKS_SPACY, "") if _BREAKS_SPACY in text else text
