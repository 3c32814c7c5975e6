"""The language a text is in, by fastText's model of 176 languages or GlotLID, through datatrove's filter."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.steps.fasttext_file import read_labels
from data_prep.steps.library_filter import LibraryFilter
from data_prep.steps.pinned_file import PinnedFile


class Language(LibraryFilter):
    """Keeps a text that the model gives one of ``languages`` more than ``language_threshold``, a probability.

    Reason: ``language``, with the likeliest one and its probability; ``empty``.

    Args:
        model: the model's file: nothing is downloaded.
        options: the filter's: ``languages`` by the model's labels, such as ``en`` for ``ft176`` and ``eng_Latn`` for
            ``glotlid``, or null for any; ``language_threshold``; ``backend``.

    Raises:
        UserError: here, for a model that is missing, cut short or no model, and for a language that it does not know;
            when called, for a file that has changed since.
    """

    name = "language"
    filter_class = "language_filter.LanguageFilter"
    not_offered = LibraryFilter.not_offered | {"label_only", "keep_top_pairs_threshold"}

    def __init__(self, model: str | Path | None = None, **options: Any) -> None:
        super().__init__(**options)
        remedy = f"download {_address(self._recipe['backend'])} and name the file"
        if model is None:
            raise UserError(f"data.steps.{self.name}.model=null: {remedy}")
        pinned = PinnedFile.of(f"data.steps.{self.name}.model", model, remedy)
        _check_languages(self._recipe["languages"] or [], read_labels(pinned.key, Path(pinned.path)))
        self._recipe["model"] = asdict(pinned)
        self.options = {"model": pinned.sha256, **self.options}

    def __call__(self, document: Document) -> Document | Removal:
        # Of a text without a word the model says nothing, which the library takes for an error.
        return super().__call__(document) if document.text.strip() else Removal(self.name, "empty")

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        pinned = PinnedFile(**recipe["model"])
        made = super().make_filter({name: value for name, value in recipe.items() if name != "model"})
        made.model._model = _load(pinned)
        return made

    def detail(self, metadata: Mapping[str, Any]) -> str:
        return f"{metadata['language']} {metadata['language_score']:.2f}"


def _address(backend: str) -> str:
    from datatrove.utils.lid import FT176LID, GlotLID

    return FT176LID.MODEL_URL if backend == "ft176" else GlotLID().MODEL_URL


def _load(pinned: PinnedFile) -> Any:
    from fasttext.FastText import _FastText

    return _FastText(str(pinned.unchanged()))


def _check_languages(languages: list[str], labels: list[str]) -> None:
    known = [label.removeprefix("__label__") for label in labels]
    for language in languages:
        if language not in known:
            close = difflib.get_close_matches(language, known, n=1, cutoff=0.4)
            remedy = f"did you mean {close[0]}?" if close else f"it has {', '.join(sorted(known)[:5])} and others"
            raise UserError(f"data.steps.language.languages={language}: the model has no such language; {remedy}")
