"""The rules that tell bare facts, dates and statistics without a thought, from other sentences (LokiLM, section 3.3).

The paper keeps "Alan Turing designed the Automatic Computing Engine" and removes "Alan Turing was born on 23 June
1912". It gives no rule, so these are ours.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

RULES = 2
"""Raised whenever another sentence would be a fact."""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_MAX_CHARACTERS = 400
_MAX_OTHER_WORDS = 3
"""Words that may be in a sentence beside the fact, names and words such as "the": more say something of their own."""

_MONTH = (
    r"(?:Jan(?:uary)?|Feb(?:ruary)?|Mar(?:ch)?|Apr(?:il)?|May|June?|July?|Aug(?:ust)?|Sept?(?:ember)?|Oct(?:ober)?"
    r"|Nov(?:ember)?|Dec(?:ember)?)\b\.?"
)
_YEAR = r"(?:(?<![\d,.])(?:1\d{3}|20\d{2})\b(?![,.]?\d)|\b\d{1,4} (?:BC|BCE|AD|CE)\b|\bAD \d{1,4}\b)"
_DAY = r"\d{1,2}(?:st|nd|rd|th)?"
_DATE = (
    rf"(?:\b{_DAY} (?:of )?{_MONTH}(?:,? {_YEAR})?|\b{_MONTH} {_DAY}\b(?:,? {_YEAR})?|\b{_MONTH},? {_YEAR}"
    rf"|\b\d{{4}}-\d\d-\d\d\b|\b\d{{1,2}}[/.]\d{{1,2}}[/.]\d{{4}}\b|{_YEAR})"
)
_NUMBER = r"(?<![\w.])\d[\d,.]*(?: (?:hundred|thousand|million|billion|trillion))?"
_IS = (
    r"\b(?:is|are|was|were|has|have|had|be|been|stands?|stood|measures?d?|weighs?|weighed|covers?|covered|spans?|spanned"
    r"|reach(?:es|ed)?|rises?|rose|fell|falls?|averages?d?|ranges?d?|totall?ed|amount(?:s|ed)|boils?|melts?|freezes?)\b"
)
_UNIT = (
    r"(?:mm|cm|m|km|ft|feet|foot|inch(?:es)?|yd|yards?|mi|miles?|(?:milli|centi|kilo)?met(?:er|re)s?|mm2|cm2|m2|km2"
    r"|[ck]?m[²³]|(?:square|cubic|sq\.?|cu\.?) \w+|hectares?|ha|acres?|mg|g|kg|(?:milli|kilo)?grams?|tons?|tonnes?"
    r"|lbs?|pounds?|oz|ounces?|ml|lit(?:er|re)s?|gallons?|km/h|mph|knots|m/s|km/s|volts?|watts?|[kMG]?W|[kMG]?Hz"
    r"|years? old)(?!\w)"
)
_FIGURE = (
    r"\b(?:area|height|elevation|altitude|length|width|depth|weight|mass|distance|speed|rate|density|budget|revenue|income"
    r"|price|turnout|score|average|total|number|GDP|capacity|temperature|attendance)\b"
)
_CONTEXT = ".{0,120}?"

_KINDS: Mapping[str, re.Pattern[str]] = {
    "date": re.compile(rf"^(?:On )?(?!{_YEAR}[.!]?$){_DATE}[.!]?$"),
    "birth or death": re.compile(
        rf"\b(?:born|died|passed away|baptised|baptized|buried|assassinated|executed)\b{_CONTEXT}{_DATE}"
    ),
    "founding": re.compile(
        rf"\b(?:founded|established|incorporated|chartered|inaugurated|built|constructed|completed|opened|closed"
        rf"|dissolved|demolished|settled|launched|released|published|premiered)\b{_CONTEXT}{_DATE}"
    ),
    "event": re.compile(
        rf"\b(?:took place|occurred|happened|(?:was|were) held|began|started|ended|lasted|signed|elected|crowned"
        rf"|appointed|married|graduated|retired)\b{_CONTEXT}{_DATE}"
    ),
    "population": re.compile(
        rf"\b(?:population|inhabitants|residents|households)\b{_CONTEXT}{_NUMBER}"
        rf"|{_NUMBER} (?:\w+ )?(?:people|inhabitants|residents|households)\b",
        re.IGNORECASE,
    ),
    "percentage": re.compile(rf"{_NUMBER} ?(?:%|percent\b|per cent\b|percentage points?\b)"),
    "temperature": re.compile(
        rf"(?:\btemperatures?\b|{_IS}){_CONTEXT}\d ?(?:° ?[CF]?\b|degrees?\b|kelvins?\b|℃|℉)", re.IGNORECASE
    ),
    "measurement": re.compile(rf"{_IS}{_CONTEXT}{_NUMBER}[ -]?{_UNIT}"),
    "figure": re.compile(rf"{_FIGURE}{_CONTEXT}{_IS}{_CONTEXT}(?:[$€£] ?\d|{_NUMBER}(?<=\d\d))", re.IGNORECASE),
}

_THOUGHT = re.compile(
    r"\b(?:because|therefore|thus|hence|so that|in order to|although|though|whereas|while|if|when|unless|until (?!\d)"
    r"|due to|owing to|as a result|consequently|leads? to|led to|caus(?:es?|ed)|means?|meant|impl(?:y|ies)"
    r"|allow(?:s|ed)|enabl(?:es?|ed)|requires?|must|should|could|would|can|cannot|(?-i:may)|might|how|why|for example"
    r"|for instance|such as|e\.g|i\.e|since (?!\d|(?-i:[A-Z]))|design(?:s|ed)|invent(?:s|ed)|develop(?:s|ed)"
    r"|discover(?:s|ed)|prov(?:es?|ed)|introduc(?:es?|ed)|propos(?:es?|ed)|show(?:s|ed|n)|argu(?:es?|ed)"
    r"|defin(?:es?|ed)|formulat(?:es?|ed)|describ(?:es?|ed)|explain(?:s|ed)|deriv(?:es?|ed)|pioneer(?:s|ed)"
    r"|demonstrat(?:es?|ed)|influenc(?:es?|ed))\b",
    re.IGNORECASE,
)
_CODE = re.compile(r"[{}<>=_\\`|]|\(\)")
_BEGINNING = re.compile("[\"'\u201c\u2018(\\[]?[A-Z0-9$\u20ac\u00a3\u00c0-\u00d6\u00d8-\u00de]")
_UNFINISHED = re.compile("[?:,;\u2013\u2014-][\"'\u201d\u2019)\\]]*$|\u2026$|\\.\\.\\.$")
_LOWER_WORD = re.compile("(?<![\\w'\u2019.-])[a-z][a-z'\u2019-]+")
_PLAIN = _words(
    "the an and or of in on at to by as is are was were be been has have had it its he his him she her they their "
    "them this that these those there from with for about around some only nearly almost over under above below "
    "between than more less most least up out per each every all both also first second third last who whom which "
    "where into near off during not no nor but since until approximately roughly estimated according circa early late "
    "then now still just today st nd rd th old new own one two three four five six seven eight nine ten hundred "
    "thousand million billion trillion born died passed away baptised baptized buried assassinated executed aged age "
    "ages son daughter founded established incorporated chartered inaugurated built constructed completed opened "
    "closed dissolved demolished settled launched released published premiered took place occurred happened held "
    "began started ended lasted signed elected crowned appointed married graduated retired population populations "
    "inhabitants residents households household people person persons families family males females census years year "
    "months month days day percent percentage cent points point temperature temperatures degrees degree high low "
    "average mean median minimum maximum area height elevation altitude length width depth weight mass distance speed "
    "rate density budget revenue income price turnout score total number capacity attendance tall long wide deep "
    "stands stood measures measured weighs weighed covers covered spans spanned reaches reached rises rose fell falls "
    "averages averaged ranges ranged totalled totaled amounts amounted boils melts freezes sea level mm cm km ft feet "
    "foot inch inches yards yard miles mile metres meters metre meter kilometres kilometers kilometre kilometer "
    "centimetres centimeters square cubic sq hectares acres grams kilograms kg tons tonnes lbs pounds ounces litres "
    "liters gallons mph knots volts watts"
)


def fact_kind(sentence: str) -> str | None:
    """Tell which kind of bare fact a sentence is; None if it is none.

    It is one if it has a date or figure of a kind, nothing in it explains, supposes, or tells of an invention, and no
    more than three words are left beside the fact. Only English is understood; in other languages hardly any sentence
    is a fact. A question, an introduction that ends with a colon, a fragment or code is none either.
    """
    if len(sentence) > _MAX_CHARACTERS or not any(character.isdigit() for character in sentence):
        return None
    line = " ".join(sentence.split())
    if not _BEGINNING.match(line) or _UNFINISHED.search(line) or _CODE.search(line) or _THOUGHT.search(line):
        return None
    kind = next((kind for kind, pattern in _KINDS.items() if pattern.search(line)), None)
    if kind is None or sum(word not in _PLAIN for word in _LOWER_WORD.findall(line)) > _MAX_OTHER_WORDS:
        return None
    return kind
