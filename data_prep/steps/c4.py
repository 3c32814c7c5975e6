"""C4's rules beside its lines: mC4's paragraphs, and its list of bad words.

C4: https://jmlr.org/papers/v21/20-074.html, section 2.2. mC4: https://arxiv.org/abs/2010.11934, section 3.1.
"""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import explained
from data_prep.steps.library_filter import LibraryFilter
from data_prep.steps.pinned_file import PinnedFile


class C4Paragraphs(LibraryFilter):
    """Removes a text of fewer than ``min_paragraphs`` lines, or whose three longest have fewer characters than
    ``min_paragraph_len``.

    Reason: ``< <min_paragraphs> paragraphs``.
    """

    name = "c4_paragraphs"
    filter_class = "c4_filters.C4ParagraphFilter"

    def __init__(self, min_paragraphs: int = 3, min_paragraph_len: int = 200) -> None:
        super().__init__()
        thresholds = {"min_paragraphs": min_paragraphs, "min_paragraph_len": min_paragraph_len}
        self._recipe = thresholds
        self.options = {**thresholds, **self.options}

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        made = super().make_filter({})
        for threshold, value in recipe.items():
            setattr(made, threshold, value)
        return made


class C4BadWords(LibraryFilter):
    """Removes a text with any of a list of words or phrases, whatever their case, between other than letters.

    Reason: ``document_removed_with_badwords``.

    Args:
        words: the list's file, an entry a line: nothing is downloaded.

    Raises:
        UserError: here, for a list that is missing or has no entry; when called, for one that has changed since.
    """

    name = "c4_badwords"
    filter_class = "c4_filters.C4BadWordsFilter"
    # Keeping a fraction goes by a random number a document, so by their order.
    not_offered = LibraryFilter.not_offered | {"keep_fraction", "seed", "fail_on_missing_language", "default_language"}

    def __init__(self, words: str | Path | None = None) -> None:
        from datatrove.pipeline.filters.c4_filters import _EN_BADWORDS_URL

        super().__init__()
        remedy = f"download {_EN_BADWORDS_URL} and name the file"
        if words is None:
            raise UserError(f"data.steps.{self.name}.words=null: {remedy}")
        pinned = PinnedFile.of(f"data.steps.{self.name}.words", words, remedy)
        if not _entries(pinned):
            raise UserError(f"data.steps.{self.name}.words={words}: no entry in it; {remedy}")
        self._recipe = {"words": asdict(pinned)}
        self.options = {"words": pinned.sha256, **self.options}

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        made = super().make_filter({})
        pinned = PinnedFile(**recipe["words"])
        pinned.unchanged()
        # As the library compiles the list that it downloads.
        alternatives = "|".join(map(re.escape, _entries(pinned)))
        made._badwords_regex = {"en": re.compile(rf"(?:\W|^)({alternatives})(?:\W|$)")}
        return made


def _entries(pinned: PinnedFile) -> list[str]:
    try:
        with explained(Path(pinned.path)):
            lines = Path(pinned.path).read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{pinned.key}={pinned.path}: not UTF-8; give a text file with an entry a line") from None
    return sorted({line.strip().lower() for line in lines} - {""})
