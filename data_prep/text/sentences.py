"""Sentences in a text whose layout is unknown: prose, wrapped or not, beside lists, tables, headings and code."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

_LINE = re.compile(r"[^\n]*\n|[^\n]+")
_SPACE = re.compile(r"\s*")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_SET_OFF = re.compile(r" {4}|\t| {0,3}>")
_NO_PROSE = re.compile(r"\s*(?:#|\||[-=*_~+]{3,}\s*$)")
_MARKER = re.compile(r"\s*(?:[-*+\u2022\u2023\u25e6\u2013]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])[^\S\n]+(?=\S)")
_UNWRAPPED = 120
"""A paragraph with a longer line than this is not wrapped: its line breaks were made on purpose."""

_WIDE_STOPS = "\u3002\uff01\uff1f"
_CLOSING = "\"'\u2019\u201d\u00bb)\\]\u300d\u300f\uff09"
_STOP = re.compile(rf"(?:[.!?\u2026]+|[\u0964\u061f]+|[{_WIDE_STOPS}]+)[{_CLOSING}]*")
_ENDED = re.compile(rf"[.!?:\u2026\u0964\u061f{_WIDE_STOPS}][{_CLOSING}]*$")
_TOKEN = re.compile(r"(?:\w+\.)*\w+$")
_WORD = re.compile(r"\w+")
_BEHIND_ORDINAL = re.compile("Jan|Feb|Mar|M\u00e4r|Apr|Mai|May|Jun|Jul|Aug|Sep|Okt|Oct|Nov|Dez|Dec|Jahrh")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_ABBREVIATIONS = _words(
    "mr mrs ms dr prof sr jr st mt ft rev gen col capt lt sgt hon gov sen rep pres messrs mme mlle hr fr vs etc eg ie "
    "cf al fig figs no nos nr vol vols pp p ch sec sect eq ed eds approx ca c b d r fl est inc ltd co corp bros dept "
    "univ jan feb mar apr jun jul aug sep sept oct nov dec bzw usw ggf bspw geb gest abb art av"
)
_STARTERS = _words(
    "The A An He She It They We I You This That These Those In On At But And However Its His Her Their There When "
    "While After Before If As For Then Many Some Most Since By From Today Later"
)


@dataclass(frozen=True, slots=True)
class Sentence:
    """Where a sentence is in its text, without the white space around it."""

    start: int
    stop: int
    marker: int
    """Where the marker of the list item begins that it is the first sentence of; else ``start``."""
    paragraph: int
    """Sentences of the same number follow one another in a paragraph, or in an item of a list."""
    is_certain: bool
    """Whether it surely begins and ends here: no line break beside it may as well be in the middle of a sentence."""


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    content: int
    stop: int


def find_sentences(text: str, holding: re.Pattern[str]) -> Iterator[Sentence]:
    """The sentences of a text's prose, in order.

    Code in fences or indented by four columns, quotations, headings, tables and rules are passed over. A line break
    within a paragraph is white space where the line was full, and otherwise ends a sentence. A full stop ends none
    between a day and its month, nor behind an abbreviation or initial unless a word such as "The" follows.

    Args:
        text: any.
        holding: paragraphs without a match of it are passed over.
    """
    paragraph = 0
    for block in _blocks(text):
        if holding.search(text, block[0].content, block[-1].stop):
            for piece in _pieces(text, block):
                yield from _sentences(text, piece, paragraph)
                paragraph += 1


def _blocks(text: str) -> Iterator[list[_Line]]:
    """Lines of prose that follow one another; in a list, those of one item."""
    block: list[_Line] = []
    fenced = set_off = False
    for match in _LINE.finditer(text):
        line = match.group()
        marker = _MARKER.match(line)
        fence = _FENCE.match(line) is not None
        set_off = not line.isspace() and (set_off or (not block and not marker and _SET_OFF.match(line) is not None))
        prose = not (fenced or fence or set_off or line.isspace() or _is_table_or_heading(line))
        fenced ^= fence
        if block and (marker or not prose):
            yield block
            block = []
        if prose:
            begin = match.start() + len(line) - len(line.lstrip())
            block.append(_Line(begin, match.start() + marker.end() if marker else begin, begin + len(line.strip())))
    if block:
        yield block


def _is_table_or_heading(line: str) -> bool:
    return _NO_PROSE.match(line) is not None or "\t" in line.strip() or line.count("|") > 1


@dataclass(frozen=True, slots=True)
class _Piece:
    start: int
    content: int
    stop: int
    begins: bool
    ends: bool


def _pieces(text: str, block: list[_Line]) -> Iterator[_Piece]:
    """A block cut where a line ended though the next word had room, and whether the cuts are certain."""
    width = max(line.stop - line.start for line in block)
    first, begins = block[0], True
    for line, following in pairwise(block):
        word = text[following.start : min(following.start + _UNWRAPPED, following.stop)].split(None, 1)[0]
        if width > _UNWRAPPED or (line.stop - line.start + 1 + len(word) <= width and not word[0].islower()):
            ended = _ENDED.search(text, max(line.start, line.stop - 8), line.stop) is not None
            certain = ended or width > _UNWRAPPED
            yield _Piece(first.start, first.content, line.stop, begins, certain)
            first, begins = following, certain
    yield _Piece(first.start, first.content, block[-1].stop, begins, True)


def _sentences(text: str, piece: _Piece, paragraph: int) -> Iterator[Sentence]:
    start = piece.content
    for stop in _STOP.finditer(text, piece.content, piece.stop):
        if stop.end() < piece.stop and _ends_sentence(text, start, stop):
            yield _sentence(piece, start, stop.end(), paragraph)
            start = _SPACE.match(text, stop.end()).end()  # type: ignore[union-attr]
    if start < piece.stop:
        yield _sentence(piece, start, piece.stop, paragraph)


def _sentence(piece: _Piece, start: int, stop: int, paragraph: int) -> Sentence:
    certain = (piece.begins or start > piece.content) and (piece.ends or stop < piece.stop)
    return Sentence(start, stop, piece.start if start == piece.content else start, paragraph, certain)


def _ends_sentence(text: str, start: int, stop: re.Match[str]) -> bool:
    if stop.group()[0] in _WIDE_STOPS:
        return True
    if not text[stop.end()].isspace():
        return False
    following = _WORD.search(text, stop.end(), stop.end() + 40)
    if following and following.group()[0].islower():
        return False
    token = _TOKEN.search(text, max(start, stop.start() - 20), stop.start())
    if stop.group() != "." or token is None:
        return True
    word = token.group()
    if word.isdigit():
        return not (len(word) <= 2 and following and _BEHIND_ORDINAL.match(following.group()))
    initial = len(word) == 1 and word.isupper() and text[token.start() - 1 : token.start()] != "\u00b0"
    # The one-letter abbreviations, such as "c.", have no capital.
    doubtful = initial or "." in word or (word if len(word) == 1 else word.lower()) in _ABBREVIATIONS
    return not doubtful or (following is not None and following.group() in _STARTERS)
