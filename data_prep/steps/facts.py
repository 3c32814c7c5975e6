"""Fact pruning: sentences of bare dates and statistics go, conceptual ones stay (LokiLM technical report, section 3.3).

The report keeps "Alan Turing designed the Automatic Computing Engine" and removes "Alan Turing was born on 23 June
1912". It gives no rule, so these are ours: a sentence goes when it holds a precise date or figure and says no more with
it than when someone was born or died, when something was founded or held, or how much or how many there is of it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace

from data_prep.documents import Document, Removal

NAME = "facts"
_RULES = 1
"""The version of the rules below: another is another outcome."""

_MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
_DAY = rf"(?:\d{{1,2}}(?:st|nd|rd|th)?\s+(?:of\s+)?{_MONTH}|{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?)"
_YEAR = r"(?:(?:1[0-9]|20)\d\d|\d{1,4}\s*(?:BC|BCE|AD|CE))"
_DATE = rf"(?:{_DAY}(?:,?\s+{_YEAR})?|(?:{_MONTH}\s+)?{_YEAR})"
_NUMBER = r"(?:\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)"
_UNIT = (
    r"(?:percent|per\s+cent|people|inhabitants|residents|degrees|metres|meters|kilometres|kilometers|miles|feet|"
    r"hectares|acres|tonnes|tons|kilograms|pounds|litres|liters|dollars|euros|km2?|kg|°[CF])"
)
_AMOUNT = rf"(?:[$€£]\s?{_NUMBER}|{_NUMBER}\s*(?:%|(?:thousand|million|billion|trillion)\b)?\s*(?:{_UNIT}\b|%)?)"
_IS = r"(?:is|are|was|were|has\s+been|had\s+been|stood\s+at|reached|totalled|totaled|amounted\s+to|rose\s+to|fell\s+to)"

_KINDS: Mapping[str, re.Pattern[str]] = {
    "a date of birth or death": re.compile(
        rf"^[^;:]*?\b(?:(?:was|were)\s+born|died|passed\s+away)\b[^;:]*?\b{_DATE}(?:,?\s+(?:in|at|near|aged)\b[^;:]*)?\W*$"
    ),
    "a date of an event": re.compile(
        rf"^[^;:]*?\b(?:(?:was|were)\s+(?:founded|established|incorporated|built|opened|closed|released|published|signed|"
        rf"held|elected|crowned|appointed|launched)|took\s+place|occurred|began|ended)\s+(?:on|in|from|between|at)\b"
        rf"[^;:]*?\b{_DATE}\W*$"
    ),
    "a statistic": re.compile(
        rf"^[^;:]*?\b(?:population|area|height|elevation|length|temperature|rate|density|budget|revenue|income|price|"
        rf"turnout|score|average|total|number|GDP)\b[^;:]*?\b{_IS}\s+(?:about\s+|around\s+|approximately\s+|only\s+)?"
        rf"{_AMOUNT}(?:\s+(?:in|as\s+of|at\s+the)\b[^;:]*)?\W*$",
        re.IGNORECASE,
    ),
    "a share": re.compile(
        rf"^(?:About\s+|Around\s+|Some\s+|Only\s+)?{_NUMBER}\s*(?:%|percent\b|per\s+cent\b)\s+of\b[^;:]*\W*$",
        re.IGNORECASE,
    ),
}
_END = re.compile("(?<=[.!?])[\"'\u201d\u2019)\\]]*(?=\\s+[\"'\u201c\u2018(\\[]?[A-Z0-9])|\\n+")
_ABBREVIATION = re.compile(
    r"(?:\b(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|etc|e\.g|i\.e|cf|al|Fig|No|Vol|pp|approx|c|ca|Inc|Ltd|Co)|\b[A-Z])\.$"
)


class Facts:
    """Drops sentences of bare facts; what stays keeps its every character. Off unless it is named.

    A document of nothing else is removed, with the kinds and numbers of its sentences as the detail.
    """

    name = NAME

    def __init__(self) -> None:
        self.options: dict[str, object] = {"rules": _RULES}

    def __call__(self, document: Document) -> Document | Removal:
        kept: list[str] = []
        dropped: Counter[str] = Counter()
        for sentence in split_sentences(document.text):
            kind = kind_of_fact(sentence)
            if kind is None:
                kept.append(sentence)
            else:
                dropped[kind] += 1
                kept.append(_space_behind(sentence) if "\n" in _space_behind(sentence) else "")
        if not dropped:
            return document
        text = "".join(kept)
        if not text.strip():
            return Removal(NAME, "nothing but facts", ", ".join(f"{kind}: {n}" for kind, n in sorted(dropped.items())))
        return replace(document, text=text)


def kind_of_fact(sentence: str) -> str | None:
    """Which kind of bare fact a sentence is; None if it is none."""
    if not any(character.isdigit() for character in sentence):
        return None
    bare = sentence.strip()
    return next((kind for kind, pattern in _KINDS.items() if pattern.match(bare)), None)


def split_sentences(text: str) -> Iterator[str]:
    """Sentences with the white space behind them: joined they are the text."""
    start = 0
    for end in _END.finditer(text):
        if end.group().startswith("\n") or not _ABBREVIATION.search(text, max(start, end.start() - 12), end.start()):
            stop = end.end()
            while stop < len(text) and text[stop].isspace():
                stop += 1
            if stop > start:
                yield text[start:stop]
                start = stop
    if start < len(text):
        yield text[start:]


def _space_behind(sentence: str) -> str:
    return sentence[len(sentence.rstrip()) :]
