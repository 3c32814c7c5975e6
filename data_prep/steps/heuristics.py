"""Quality by heuristics: the rules of Gopher, C4 and FineWeb, as datatrove 0.10 has them.

Gopher: https://arxiv.org/abs/2112.11446, section A.1. C4: https://jmlr.org/papers/v21/20-074.html, section 2.2.
FineWeb: https://arxiv.org/abs/2406.17557, section 3.6. Words, sentences, lines and characters are counted; what has
``frac``, ``ratio`` or ``thr`` in its name is a fraction of 1. Options and their defaults are the library's.
"""

from __future__ import annotations

import dataclasses
from importlib import metadata
from typing import Any

from custom_modules.data_steps.kinds import WordSplitter
from data_prep.input.documents import Document
from data_prep.steps.library_filter import LibraryFilter
from data_prep.text.words import RULES


class _WordFilter(LibraryFilter):
    """A filter of datatrove that splits a text into words.

    Args:
        words: how a text is split into words and sentences: ``spacy``, as the library does, word for word; or
            ``regex``, which needs no spaCy and decides otherwise for about one document in a hundred.
        options: the filter's thresholds.
    """

    def __init__(self, words: WordSplitter = "spacy", **options: Any) -> None:
        self._words = words
        super().__init__(**options)
        self._recipe["words"] = words
        self.options = {"words": words, **self.options}

    def versions(self, library_class: Any) -> dict[str, str]:
        if self._words == "regex":
            return {**super().versions(library_class), "regex words": str(RULES)}
        self.require(["spacy"])
        return {**super().versions(library_class), "spacy": metadata.version("spacy")}

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        from data_prep.steps.library_words import splitter

        thresholds = {name: value for name, value in recipe.items() if name != "words"}
        return super().make_filter({**thresholds, "language": splitter(recipe["words"])})


class GopherRepetition(_WordFilter):
    """Removes a text that repeats lines, paragraphs or runs of words.

    Reasons: ``dup_para_frac``, ``dup_para_char_frac``, ``dup_line_frac``, ``dup_line_char_frac``, ``top_<n>_gram``,
    ``duplicated_<n>_n_grams``, ``empty``.
    """

    name = "gopher_repetition"
    filter_class = "gopher_repetition_filter.GopherRepetitionFilter"


class GopherQuality(_WordFilter):
    """Removes a text whose words and lines are not those of prose. ``max_non_alpha_words_ratio`` is a minimum: the
    fraction of words that have a letter.

    Reasons: ``gopher_short_doc``, ``gopher_long_doc``, ``gopher_below_avg_threshold``, ``gopher_above_avg_threshold``,
    ``gopher_too_many_hashes``, ``gopher_too_many_ellipsis``, ``gopher_too_many_bullets``,
    ``gopher_too_many_end_ellipsis``, ``gopher_below_alpha_threshold``, ``gopher_enough_stop_words`` (of them too few),
    ``empty``.
    """

    name = "gopher_quality"
    filter_class = "gopher_quality_filter.GopherQualityFilter"


class C4Quality(_WordFilter):
    """Takes out lines that do not read like sentences, and removes a text that too few sentences are left of.

    With ``min_num_sentences=-1`` what is left may be no text at all.

    Reasons: ``lorem_ipsum``, ``curly_bracket``, ``too_few_sentences``.
    """

    name = "c4_quality"
    filter_class = "c4_filters.C4QualityFilter"

    def outcome(self, document: Document, text: str) -> Document:
        return document if text == document.text else dataclasses.replace(document, text=text)


class FineWebQuality(_WordFilter):
    """Removes a text whose lines are short, unfinished or repeated.

    Reasons: ``line_punct_ratio``, ``short_line_ratio``, ``char_dup_ratio``, ``list_ratio``, ``empty``.
    """

    name = "fineweb_quality"
    filter_class = "fineweb_quality_filter.FineWebQualityFilter"
