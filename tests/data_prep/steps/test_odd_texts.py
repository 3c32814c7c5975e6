"""Steps decide about odd texts as datatrove's own code does, where that ends."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.hard_texts import hard_texts
from data_prep.input.documents import Document, digest
from data_prep.steps.heuristics import C4Quality, FineWebQuality, GopherQuality, GopherRepetition
from data_prep.steps.library_filter import LibraryFilter
from tests.support.library_filters import decision, library_decision

pytest.importorskip("datatrove")
pytest.importorskip("spacy")

NEVER = 9.0
"""A fraction that nothing reaches."""
LENIENT: dict[str, Any] = {f"dup_{what}_frac": None for what in ("line", "para", "line_char", "para_char")}
CASES: list[tuple[type[LibraryFilter], dict[str, Any]]] = [
    (GopherRepetition, {}),
    (GopherRepetition, {**LENIENT, "top_n_grams": [[2, 0.9], [3, NEVER]], "dup_n_grams": [[5, 0.4], [10, 0.2]]}),
    (GopherRepetition, {**LENIENT, "top_n_grams": [], "dup_n_grams": [[2, 0.6], [7, 0.3], [8, 0.01]]}),
    (GopherQuality, {"min_doc_words": 3}),
    (GopherQuality, {"min_doc_words": None, "min_avg_word_length": None, "max_avg_word_length": None}),
    (C4Quality, {"min_num_sentences": 2}),
    (C4Quality, {"filter_no_terminal_punct": False, "min_words_per_line": 1, "min_num_sentences": 3}),
    (C4Quality, {"split_paragraph": False, "filter_no_terminal_punct": False, "filter_curly_bracket": False}),
    (FineWebQuality, {"line_punct_thr": 0.0, "short_line_thr": NEVER, "char_duplicates_ratio": NEVER}),
]
PIECES = (
    *"aA1中한ب .,:;!?'\"()[]{}<>-_/\\@#$%^&*+=~`|…。\u2019\u201c°€\n\t\r\x1c\u00a0\u2028\u200d\u2581\u0301\u0316\u0344",
    *("word", "The ", "isn't", "'s", "10km", "US$", "3.5", "a-", "a.", "a.B", "A.", "a@b.c", "x:y@", "http://a.b/c?d"),
    *(
        ":)",
        ":(",
        "(:",
        ": (",
        ":-)",
        "(-:",
        "8)",
        "><(((*>",
        "e.g.",
        "Mr.",
        "a.m.",
        "...",
        "..",
        "--",
        ". ",
        "! ",
        "\U0001f600",
    ),
)
odd_texts = st.lists(st.tuples(st.sampled_from(PIECES), st.sampled_from((1, 1, 1, 2, 3, 9, 17, 40))), max_size=12).map(
    lambda runs: "".join(piece * count for piece, count in runs)
)
HARD = hard_texts(300)


def library_outcome(step: LibraryFilter, text: str, options: dict[str, Any]) -> tuple[str, str]:
    arguments = {
        name: tuple(map(tuple, value)) if isinstance(value, list) else value for name, value in options.items()
    }
    try:
        return library_decision(step, text, **arguments)
    except ZeroDivisionError:  # It divides by the number of words or lines.
        return "removed", "empty"


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@pytest.mark.parametrize(("step_class", "options"), CASES)
def test_hard_texts(step_class: type[LibraryFilter], options: dict[str, Any]) -> None:
    step = step_class(**options)
    for name, text in HARD.items():
        for whole in (text, f"The river (is) {text} long.", f"{text}\n\n{text}"):
            assert decision(step(Document(whole, 1))) == library_outcome(step, whole, options), name


@pytest.mark.filterwarnings("ignore:Mean of empty slice", "ignore:invalid value")
@settings(deadline=None, max_examples=60)
@given(odd_texts)
@example("")
@example("a" + "\u0300\u0316" * 40)
@example("(" * 40 + ":)" + "." * 40 + "'s")
@example("." * 17 + "a" + "." * 17 + "." * 40 + "x")
@example("x:y@" * 9 + "a.com:80/")
@example(": (" * 9 + "(:" * 9)
def test_random_texts(text: str) -> None:
    for step_class, options in CASES:
        step = step_class(**options)
        assert decision(step(Document(text, 1))) == library_outcome(step, text, options)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """MinHash's first pass of ours and of the library, with its own words."""
    from datatrove.pipeline.dedup.minhash import MinhashDedupSignature

    from data_prep.across.minhash import minhash_config
    from data_prep.across.minhash_signature import Signatures

    folder: Path = tmp_path_factory.mktemp("signatures")
    config = minhash_config({"num_buckets": 3, "hashes_per_bucket": 4})
    return Signatures(folder, config), MinhashDedupSignature(str(folder), config)


def same_signatures(both: tuple[Any, Any], text: str) -> None:
    ours, library = (step.get_shingles(text) for step in both)
    assert np.array_equal(ours, library)
    if len(ours):
        assert both[0].get_signature(ours) == both[1].get_signature(ours)


def test_signatures_of_hard_texts(both: tuple[Any, Any]) -> None:
    for text in HARD.values():
        same_signatures(both, text)
        same_signatures(both, f"The river (is) {text} long.")
    same_signatures(
        both, " ".join(map(str, np.random.default_rng(0).integers(1 << 40, size=40_000).tolist())) + " x y z"
    )


@settings(deadline=None, max_examples=60)
@given(odd_texts)
@example("a" + "\u0300\u0316" * 40)
@example("Σ" + "\u0345\u0316" * 40 + "Σ \u302e" + "\u0316\u302e" * 40)
def test_signatures_of_random_texts(both: tuple[Any, Any], text: str) -> None:
    same_signatures(both, text)


@given(odd_texts, odd_texts)
def test_texts_of_the_same_words_have_one_digest(text: str, other: str) -> None:
    def words(text: str) -> list[str]:
        plain = unicodedata.normalize("NFKC", text).casefold()
        return "".join(letter if letter.isalnum() else " " for letter in plain).split()

    if words(text):
        assert digest(text) == digest(unicodedata.normalize("NFD", text))
        assert (digest(text) == digest(other)) == (words(text) == words(other))
