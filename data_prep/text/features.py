"""The numbers that the heuristics of Gopher, C4 and FineWeb look at, for a model that weighs them by itself.

H2O-Danube technical report, section 7. Words are those of `data_prep.text.words`. Where a heuristic of datatrove
computes the number, it is computed as there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from statistics import fmean, median, pstdev

from data_prep.text.words import regex_words

_TOP_N_GRAMS = (2, 3, 4)
_DUPLICATE_N_GRAMS = (5, 6, 7, 8, 9, 10)
_SHORT_LINE = 30
_BULLETS = ("•", "-")
_ELLIPSES = ("...", "…")

FEATURES: tuple[str, ...] = (
    # of the words, those that are all punctuation left out: number; characters a word
    "words",
    "mean_word_length",
    # of all words: fraction that has a letter; different ones of Gopher's eight stop words; fraction that is different
    "alphabetic_words",
    "stop_words",
    "different_words",
    # a word: hash signs; ellipses; line breaks; curly brackets
    "hashes",
    "ellipses",
    "line_breaks",
    "curly_brackets",
    # of the lines with text: number; fractions that begin with a bullet, end in an ellipsis, end in punctuation that
    # ends a sentence, have 30 characters or fewer
    "lines",
    "bullet_lines",
    "ellipsis_lines",
    "punctuated_lines",
    "short_lines",
    # characters a line with text
    "mean_line_length",
    "median_line_length",
    "deviation_of_line_length",
    "longest_line",
    # fractions of lines, paragraphs and their characters that repeat an earlier line or paragraph
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    # characters of the commonest run of n words, every time it comes, to those of the text
    *(f"top_{n}_gram" for n in _TOP_N_GRAMS),
    # fraction of characters in runs of n words that have come before
    *(f"duplicate_{n}_grams" for n in _DUPLICATE_N_GRAMS),
    # number of characters; fractions that are letters, capital letters, digits, white space, not ASCII
    "characters",
    "letters",
    "capitals",
    "digits",
    "white_space",
    "non_ascii",
)
"""The names, in their fixed order."""


def features(text: str) -> dict[str, float]:
    """Every one of `FEATURES`, in that order; all are finite, and 0 where there is nothing to count."""
    words = regex_words(text)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    values = (
        *_of_words(words),
        *_a_word(text, len(words)),
        *_of_lines(lines),
        *_of_line_lengths([len(line) for line in lines]),
        *_of_repeated_lines(text),
        *_of_n_grams(words, len(text)),
        *_of_characters(text),
    )
    return dict(zip(FEATURES, map(float, values), strict=True))


def _of_words(words: Sequence[str]) -> tuple[float, ...]:
    from datatrove.pipeline.filters.gopher_quality_filter import STOP_WORDS
    from datatrove.utils.text import PUNCTUATION_SET

    lengths = [len(word) for word in words if not PUNCTUATION_SET.issuperset(word)]
    different = set(words)
    alphabetic = sum(word.isalpha() or any(map(str.isalpha, word)) for word in words)
    return (
        len(lengths),
        _ratio(sum(lengths), len(lengths)),
        _ratio(alphabetic, len(words)),
        len(different.intersection(STOP_WORDS)),
        _ratio(len(different), len(words)),
    )


def _a_word(text: str, words: int) -> tuple[float, ...]:
    ellipses = sum(map(text.count, _ELLIPSES))
    return tuple(_ratio(n, words) for n in (text.count("#"), ellipses, text.count("\n"), text.count("{")))


def _of_lines(lines: Sequence[str]) -> tuple[float, ...]:
    from datatrove.utils.text import TERMINAL_PUNCTUATION

    terminals = tuple(TERMINAL_PUNCTUATION)
    counts = (
        sum(line.startswith(_BULLETS) for line in lines),
        sum(line.endswith(_ELLIPSES) for line in lines),
        sum(line.endswith(terminals) for line in lines),
        sum(len(line) <= _SHORT_LINE for line in lines),
    )
    return (len(lines), *(_ratio(count, len(lines)) for count in counts))


def _of_line_lengths(lengths: Sequence[int]) -> tuple[float, ...]:
    if not lengths:
        return (0, 0, 0, 0)
    return (fmean(lengths), median(lengths), pstdev(lengths), max(lengths))


def _of_repeated_lines(text: str) -> tuple[float, ...]:
    from datatrove.pipeline.filters.gopher_repetition_filter import find_duplicates

    values: list[float] = []
    for pieces in (re.split(r"\n+", text), re.split(r"\n{2,}", text.strip())):
        repeated, characters = find_duplicates(pieces)
        values += [_ratio(repeated, len(pieces)), _ratio(characters, len(text))]
    return tuple(values)


def _of_n_grams(words: list[str], characters: int) -> tuple[float, ...]:
    from datatrove.pipeline.filters.gopher_repetition_filter import find_all_duplicate, find_top_duplicate, get_n_grams

    tops = [find_top_duplicate(get_n_grams(words, n)) if len(words) >= n else 0 for n in _TOP_N_GRAMS]
    repeated = [find_all_duplicate(words, n) for n in _DUPLICATE_N_GRAMS]
    return tuple(_ratio(number, characters) for number in (*tops, *repeated))


def _of_characters(text: str) -> tuple[float, ...]:
    non_ascii = 0 if text.isascii() else sum(character > "\x7f" for character in text)
    counts = (*(sum(map(test, text)) for test in (str.isalpha, str.isupper, str.isdigit, str.isspace)), non_ascii)
    return (len(text), *(_ratio(count, len(text)) for count in counts))


def _ratio(number: float, whole: float) -> float:
    return number / whole if whole else 0.0
