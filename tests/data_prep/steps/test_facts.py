"""Bare dates and statistics go, and everything else stays to the letter."""

from __future__ import annotations

import pickle
import pydoc_data.topics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.documents import Document, Removal
from data_prep.steps.facts import Facts, kind_of_fact, split_sentences


def pruned(text: str) -> str | None:
    outcome = Facts()(Document(text, 1))
    return outcome.text if isinstance(outcome, Document) else None


def test_the_example_of_the_report() -> None:
    kept, removed = "Alan Turing designed the Automatic Computing Engine.", "Alan Turing was born on 23 June 1912."
    assert pruned(f"{removed} {kept}") == kept
    assert pruned(f"{kept} {removed}") == f"{kept} "
    assert pruned(removed) is None


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("She died in 1954.", "a date of birth or death"),
        ("Marie Curie passed away on July 4, 1934, aged 66.", "a date of birth or death"),
        ("The company was founded in 1998.", "a date of an event"),
        ("The first match took place on 3 May 1901.", "a date of an event"),
        ("The population of the town was 12,345 in 2010.", "a statistic"),
        ("Its average temperature is 14.5 degrees.", "a statistic"),
        ("About 45 percent of the voters stayed at home.", "a share"),
        ("71% of the surface is water.", "a share"),
    ],
)
def test_bare_facts(sentence: str, kind: str) -> None:
    assert kind_of_fact(sentence) == kind


@pytest.mark.parametrize(
    "sentence",
    [
        "Since the war of 1914 changed how states pay for armies, taxes became permanent.",
        "The engine was built in 1945, because relays were too slow: it stored programs.",
        "A triangle has 3 sides.",
        "The function returns 0 if the list is empty.",
        "Water boils at a lower temperature when the pressure falls.",
        "x = population[2010] + 3",
        "Version 3.11 is faster than 3.10.",
        "He was born into a family of weavers.",
        "Le chiffre était de 45 % en 1990, ce qui étonna.",
    ],
)
def test_conceptual_sentences_stay(sentence: str) -> None:
    assert kind_of_fact(sentence) is None
    assert pruned(f"{sentence} And more.") == f"{sentence} And more."


def test_paragraphs_stay_paragraphs() -> None:
    facts = "It was founded in 1901.\n\nThe rate was 5 percent in 2001.\n\n"
    text = f"A heading\n\nIt works by heat. {facts}- a list\n- goes on\n"
    assert pruned(text) == "A heading\n\nIt works by heat. \n\n\n\n- a list\n- goes on\n"


def test_abbreviations_and_decimals_end_no_sentence() -> None:
    text = "Dr. Smith met Mr. Jones at 3.5 miles. He left."
    assert list(split_sentences(text)) == ["Dr. Smith met Mr. Jones at 3.5 miles. ", "He left."]


@given(st.text())
def test_sentences_joined_are_the_text(text: str) -> None:
    assert "".join(split_sentences(text)) == text


@given(st.text(alphabet="ab. \n!?\"'A"))
def test_a_text_without_figures_comes_back_as_it_was(text: str) -> None:
    document = Document(text, 1)
    assert Facts()(document) is document


def test_reference_documentation_has_no_bare_facts() -> None:
    step = pickle.loads(pickle.dumps(Facts()))
    for text in pydoc_data.topics.topics.values():
        outcome = step(Document(text, 1))
        assert not isinstance(outcome, Removal)
        assert outcome.text == text
