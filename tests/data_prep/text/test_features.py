from __future__ import annotations

import math
import re
from collections import Counter
from pydoc_data.topics import topics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.text.features import FEATURES, features
from data_prep.text.words import regex_words

PUNCTUATION = pytest.importorskip("datatrove.utils.text").PUNCTUATION_SET

LIST = "- Budapest and Vienna\n- Ulm, Linz...\n\n• Passau!\n\n\n- Budapest and Vienna\n# {x} = 12 #\n"
REPEATED = (
    "the Danube and the Rhine and the Elbe flow north or east\n" * 3
    + "\nÉté 2024 in WIEN: 30 °C.\n\nÉté 2024 in WIEN: 30 °C."
)


@settings(deadline=None, max_examples=150)
@given(st.one_of(st.text(), st.text(alphabet=" \n.#-•…a{1", max_size=60)))
def test_finite_for_any_text(text: str) -> None:
    found = features(text)
    assert tuple(found) == FEATURES
    assert all(type(value) is float and math.isfinite(value) and value >= 0 for value in found.values())


def test_names_differ_and_the_order_stands() -> None:
    assert len(set(FEATURES)) == len(FEATURES) == 37
    assert FEATURES[:3] == ("words", "mean_word_length", "alphabetic_words") and FEATURES[-1] == "non_ascii"


@pytest.mark.parametrize("text", ["", " \n\t\n"])
def test_of_nothing(text: str) -> None:
    found = features(text)
    assert {name for name, value in found.items() if value} <= {"characters", "white_space"}


@pytest.mark.parametrize("text", [LIST, REPEATED, *(topics[name] for name in ("assert", "lambda", "strings"))])
def test_plain_formulas(text: str) -> None:
    words = regex_words(text)
    wordy = [word for word in words if any(character not in PUNCTUATION for character in word)]
    lines = [line.strip() for line in re.split(r"\n", text) if line.strip()]
    lengths = [len(line) for line in lines]
    mean = sum(lengths) / len(lines)
    middle = sorted(lengths)
    expected = {
        "words": len(wordy),
        "mean_word_length": sum(map(len, wordy)) / len(wordy),
        "alphabetic_words": sum(any(letter.isalpha() for letter in word) for word in words) / len(words),
        "stop_words": sum(w in words for w in ("the", "be", "to", "of", "and", "that", "have", "with")),
        "different_words": len(set(words)) / len(words),
        "hashes": text.count("#") / len(words),
        "ellipses": (text.count("...") + text.count("…")) / len(words),
        "line_breaks": text.count("\n") / len(words),
        "curly_brackets": text.count("{") / len(words),
        "lines": len(lines),
        "bullet_lines": sum(line[0] in "-•" for line in lines) / len(lines),
        "ellipsis_lines": sum(line.endswith("...") for line in lines) / len(lines),
        "punctuated_lines": sum(line[-1] in ".!?" for line in lines) / len(lines),
        "short_lines": sum(length <= 30 for length in lengths) / len(lines),
        "mean_line_length": mean,
        "median_line_length": (middle[(len(lines) - 1) // 2] + middle[len(lines) // 2]) / 2,
        "deviation_of_line_length": math.sqrt(sum((length - mean) ** 2 for length in lengths) / len(lines)),
        "longest_line": max(lengths),
        "characters": len(text),
        "letters": len([c for c in text if c.isalpha()]) / len(text),
        "capitals": len([c for c in text if c.isupper()]) / len(text),
        "digits": len(re.findall(r"\d", text)) / len(text),
        "white_space": len(re.findall(r"\s", text)) / len(text),
        "non_ascii": len(text.encode("ascii", "ignore")) / -len(text) + 1,
    }
    expected |= _repeated("line", re.split(r"\n+", text), len(text))
    expected |= _repeated("paragraph", re.split(r"\n\n+", text.strip()), len(text))
    for n in (2, 3, 4):
        runs = [" ".join(words[start : start + n]) for start in range(len(words) - n + 1)]
        most = max(Counter(runs).values())
        first = next(run for run in runs if runs.count(run) == most)
        expected[f"top_{n}_gram"] = len(first) * most / len(text)
    expected |= {f"duplicate_{n}_grams": _repeated_runs(words, n) / len(text) for n in range(5, 11)}
    assert features(text) == pytest.approx(expected)


def _repeated(what: str, pieces: list[str], characters: int) -> dict[str, float]:
    again = [piece for index, piece in enumerate(pieces) if piece in pieces[:index]]
    return {
        f"duplicate_{what}s": len(again) / len(pieces),
        f"duplicate_{what}_characters": sum(map(len, again)) / characters,
    }


def _repeated_runs(words: list[str], n: int) -> int:
    """Runs that come again are counted without overlap."""
    seen: list[str] = []
    characters = start = 0
    while start + n <= len(words):
        run = "".join(words[start : start + n])
        repeated = run in seen
        characters += len(run) * repeated
        seen += [] if repeated else [run]
        start += n if repeated else 1
    return characters
