"""Bare dates and statistics go, and everything else stays to the letter."""

from __future__ import annotations

import pickle
import pydoc_data.topics
import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.input.documents import Document, Removal
from data_prep.steps.fact_rules import fact_kind
from data_prep.steps.facts import FactPruning, find_facts
from data_prep.text.sentences import find_sentences

ANY = re.compile("")
FACT = "Alan Turing was born on 23 June 1912."
THOUGHT = "Alan Turing designed the Automatic Computing Engine."


def pruned(text: str) -> str | None:
    outcome = FactPruning()(Document(text, 1))
    return outcome.text if isinstance(outcome, Document) else None


def sentences(text: str) -> list[str]:
    return [text[each.start : each.stop] for each in find_sentences(text, ANY)]


@pytest.mark.parametrize("stop", [".", ""])
def test_the_example_of_the_report(stop: str) -> None:
    assert pruned(f"Alan Turing designed the Automatic Computing Engine{stop}")
    assert FactPruning()(Document(f"Alan Turing was born on 23 June 1912{stop}", 1)) == Removal(
        "facts", "nothing but facts", "birth or death: 1"
    )


@pytest.mark.parametrize(
    ("sentence", "kind"),
    [
        ("She died in 1954.", "birth or death"),
        ("Marie Curie passed away on July 4, 1934, aged 66.", "birth or death"),
        ("Mr. J. R. Smith (born 12 May 1950) died in St. Louis on 3 May 2001.", "birth or death"),
        ("The company was founded in 1998 by Larry Page and Sergey Brin.", "founding"),
        ("The bridge was opened on 2010-05-04.", "founding"),
        ("The first match took place on 3 May 1901.", "event"),
        ("The war began in 1914 and ended in 1918.", "event"),
        ("Rome was besieged by the Gauls; the siege lasted until 390 BC.", "event"),
        ("The population of the town was 12,345 in 2010.", "population"),
        ("As of the 2011 census, the village had 312 inhabitants in 90 families.", "population"),
        ("About 45 percent of the voters stayed at home.", "percentage"),
        ("71% of the surface is water.", "percentage"),
        ("The racial makeup of the city was 93.2% White and 1.2% Asian.", "percentage"),
        ("The average temperature in July is 23 °C.", "temperature"),
        ("Its average temperature is 14.5 degrees.", "temperature"),
        ("The mountain is 2,345 m high.", "measurement"),
        ("The lake covers 12.5 square miles.", "measurement"),
        ("The city's budget was $5 million in 2012.", "figure"),
        ("23 June 1912.", "date"),
    ],
)
def test_bare_facts(sentence: str, kind: str) -> None:
    assert fact_kind(sentence) == kind
    assert [fact.kind for fact in find_facts(f"{THOUGHT} {sentence} {THOUGHT}")] == [kind]


@pytest.mark.parametrize(
    "sentence",
    [
        THOUGHT,
        "Alan Turing designed the Automatic Computing Engine in 1945.",
        "Turing was born in 1912 and invented the Turing machine.",
        "Alan Turing was born in 1912 and laid the ground for a science that every computer built since 1950 rests on.",
        "Hundreds of thousands died because the blight destroyed the crop on which they depended in 1845.",
        "Since the war of 1914 changed how states pay for armies, taxes became permanent.",
        "The engine was built in 1945, because relays were too slow: it stored programs.",
        "A triangle has 3 sides.",
        "It is a cycle the length of which is 2.",
        "1998.",
        "The function returns 0 if the list is empty.",
        "Add 200 g of sugar and preheat the oven to 180 °C.",
        "Increasing the learning rate by 10% made training unstable.",
        "Water boils at a lower temperature when the pressure falls.",
        "x = population[2010] + 3",
        "The total is 12 = 3 * 4.",
        "Version 3.11 is faster than 3.10.",
        "He was born into a family of weavers.",
        "born on 23 June 1912.",
        "Was she born in 1912?",
        "She was born in 1912:",
        "Le chiffre était de 45 pour cent en 1990, ce qui étonna.",
        "Alan Turing wurde am 23. Juni 1912 in London geboren.",
        "艾伦·图灵生于1912年6月23日。",
    ],
)
def test_conceptual_sentences_stay(sentence: str) -> None:
    assert fact_kind(sentence) is None
    text = f"{sentence} {THOUGHT}"
    assert pruned(text) == text


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (f"{FACT} {THOUGHT}", THOUGHT),
        (f"{THOUGHT} {FACT}", THOUGHT),
        (f"{THOUGHT} {FACT}\n", f"{THOUGHT}\n"),
        (f"{THOUGHT}  {FACT}  {FACT} {THOUGHT}", f"{THOUGHT}  {THOUGHT}"),
        (f"{THOUGHT}\n\n{FACT}\n\n\n{THOUGHT}\n", f"{THOUGHT}\n\n\n{THOUGHT}\n"),
        (f"{THOUGHT}\n\n\n{FACT} {FACT}\n\n{THOUGHT}", f"{THOUGHT}\n\n\n{THOUGHT}"),
        (f"\n  {FACT}\n  {THOUGHT}\n", f"\n  {THOUGHT}\n"),
        (f"{THOUGHT} {FACT}\n{THOUGHT}", f"{THOUGHT}\n{THOUGHT}"),
        (f"{THOUGHT}\n{FACT} {THOUGHT}", f"{THOUGHT}\n{THOUGHT}"),
        (f"{THOUGHT}\r\n\r\n{FACT}\r\n\r\n{THOUGHT}\r\n", f"{THOUGHT}\r\n\r\n{THOUGHT}\r\n"),
        (f"{THOUGHT}\n- {FACT}\n- {THOUGHT}\n", f"{THOUGHT}\n- {THOUGHT}\n"),
        (f"1. {FACT} {THOUGHT}\n2. {FACT}\n", f"1. {THOUGHT}\n"),
        (f"{THOUGHT}\n\n    x = 1912\n\n{FACT}\n", f"{THOUGHT}\n\n    x = 1912\n"),
    ],
)
def test_spaces_lines_and_paragraphs_of_what_stays(text: str, rest: str) -> None:
    assert pruned(text) == rest


def test_a_sentence_is_pruned_whole_where_lines_are_wrapped() -> None:
    text = (
        "Historians still argue about how the old and almost forgotten\n"
        "King John died in 1216. Alan Turing was born in London on\n"
        "Sunday 23 June 1912. He designed a computer that was built by\n"
        "others.\n"
    )
    assert pruned(text) == (
        "Historians still argue about how the old and almost forgotten\n"
        "King John died in 1216. He designed a computer that was built by\n"
        "others.\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "A verse about\nKing John died in 1216.\nand the long years that came after him\n",
        f"```\n{FACT}\n```\n",
        f"    {FACT}\n    {FACT}\n",
        f"> {FACT}\n",
        f"# {FACT}\n",
        f"| {FACT} | {FACT} |\n",
        f"{FACT}\tx\n",
        "The farm is 12 acres. Tom was born in 1990. How old is he?\n",
    ],
    ids=["verse", "fence", "indented", "quotation", "heading", "table", "columns", "question"],
)
def test_what_is_not_surely_a_sentence_of_prose_stays(text: str) -> None:
    assert pruned(text) == text


def test_abbreviations_decimals_and_initials_end_no_sentence() -> None:
    assert sentences("Dr. J. Smith of the U.S. Army met Mr. Jones ca. 3.5 miles off, e.g. Here. He left.") == [
        "Dr. J. Smith of the U.S. Army met Mr. Jones ca. 3.5 miles off, e.g. Here.",
        "He left.",
    ]
    assert sentences("It is sold in the U.S. The price fell! “Why?” It fell... and fell.") == [
        "It is sold in the U.S.",
        "The price fell!",
        "“Why?”",
        "It fell... and fell.",
    ]
    assert sentences("Er kam am 23. Juni 1912 zur Welt. Das war so.") == [
        "Er kam am 23. Juni 1912 zur Welt.",
        "Das war so.",
    ]
    assert sentences("他生于一九一二年。他是数学家。") == ["他生于一九一二年。", "他是数学家。"]
    assert sentences("- One. Two\n- Three\n\nFour") == ["One.", "Two", "Three", "Four"]


PIECES = st.sampled_from(
    [
        FACT,
        THOUGHT,
        "It has 5 km. ",
        "\n",
        "\n\n",
        " ",
        "- ",
        "```",
        "    ",
        "a",
        "?",
        ".",
        "。",
        "\r\n",
        "\t",
        "|",
        "1",
        "x\ny",
    ]
)
TEXTS = st.one_of(st.text(), st.lists(PIECES, max_size=20).map("".join))


@given(TEXTS)
def test_only_the_facts_go_and_a_text_without_one_comes_back_as_it_was(text: str) -> None:
    document = Document(text, 1)
    outcome = FactPruning()(document)
    facts = find_facts(text)
    assert (outcome is document) == (not facts)
    kept, position = [], 0
    for fact in facts:
        kept.append(text[position : fact.start])
        position = fact.stop
    kept.append(text[position:])
    rest = outcome.text if isinstance(outcome, Document) else ""
    assert re.sub(r"\s", "", rest) == re.sub(r"\s", "", "".join(kept))


@given(TEXTS)
def test_sentences_are_in_order_and_without_space_around(text: str) -> None:
    position = 0
    for each in find_sentences(text, ANY):
        assert position <= each.marker <= each.start < each.stop <= len(text)
        assert text[each.start : each.stop] == text[each.start : each.stop].strip()
        position = each.stop


@given(st.text(alphabet="ab. \n!?\"'A-"))
def test_a_text_without_figures_comes_back_as_it_was(text: str) -> None:
    document = Document(text, 1)
    assert FactPruning()(document) is document


def test_reference_documentation_has_no_bare_facts() -> None:
    step = pickle.loads(pickle.dumps(FactPruning()))
    assert step.options == FactPruning().options
    for text in pydoc_data.topics.topics.values():
        document = Document(text, 1)
        assert step(document) is document


@pytest.mark.parametrize(
    "piece", ["was born 1 ", "The total is 12 ", "5 % of a ", "was held in May ", "A 1. ", "- 1\n", FACT]
)
def test_a_long_text_takes_time_in_proportion(piece: str) -> None:
    begun = time.perf_counter()
    FactPruning()(Document(piece * 20_000, 1))
    assert time.perf_counter() - begun < 3
