"""Where a text was found: lists of domains, addresses and words, through datatrove's filter."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.steps.library_filter import LibraryFilter, library_class
from data_prep.steps.pinned_file import PinnedFile

_REMEDY = "name a text file with an entry a line, or write the entries as a list"


class Url(LibraryFilter):
    """Removes a document by its address. One that has no address is kept.

    With ``use_integrated_lists`` the lists that datatrove itself brings count too: 4.6 million domains, 500 MB in each
    process; the library unpacks them into Hugging Face's folder for assets. Domains are told from suffixes by the list
    that ``tldextract`` brings. Nothing is downloaded.

    Reasons: ``domain``, ``subdomain``, ``url``, ``hard_blacklisted``, ``soft_blacklisted``, ``blacklisted_subword``.

    Args:
        options: the filter's: ``soft_word_threshold``, words; ``use_integrated_lists``; and lists, each a list of
            entries or the path of a text file with an entry a line (``#`` before a remark): ``extra_domains``,
            ``extra_urls``, ``banned_words``, ``banned_subwords``, ``soft_banned_words``.

    Raises:
        UserError: here, for a file that is missing or not UTF-8, or a word without a letter or digit; when called, for
            a file that has changed since.
    """

    name = "url"
    filter_class = "url_filter.URLFilter"

    def __init__(self, **options: Any) -> None:
        files = {
            name: PinnedFile.of(f"data.steps.{self.name}.{name}", value, _REMEDY)
            for name, value in options.items()
            if isinstance(value, str | Path) and name in _list_options(self.filter_class)
        }
        super().__init__(**{name: value for name, value in options.items() if name not in files})
        self._recipe.update({name: asdict(file) for name, file in files.items()})
        self.options = {**self.options, **{name: file.sha256 for name, file in files.items()}}
        _lists(self._recipe)

    def __call__(self, document: Document) -> Document | Removal:
        return super().__call__(document) if document.url else document

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        from tldextract import TLDExtract

        made = super().make_filter({**recipe, **_lists(recipe)})
        # The library's own extractor fetches the list of public suffixes.
        made.tldextractor = TLDExtract(suffix_list_urls=(), cache_dir=None)
        return made


def _list_options(filter_class: str) -> set[str]:
    parameters = inspect.signature(library_class(filter_class)).parameters
    return {name for name, parameter in parameters.items() if parameter.default is None}


def _lists(recipe: Mapping[str, Any]) -> dict[str, list[str]]:
    """The lists of a recipe, given or in files, as the library wants them: it fails or bans too much on an empty line.

    Raises:
        UserError: a file that has changed or is not UTF-8, or a word that nothing is left of for the library.
    """
    return {name: _entries(name, value) for name, value in recipe.items() if isinstance(value, list | tuple | dict)}


def _entries(name: str, value: Sequence[str] | dict[str, str]) -> list[str]:
    from datatrove.pipeline.filters.url_filter import normalize

    lines = _read(PinnedFile(**value)) if isinstance(value, dict) else value
    entries = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    for entry in entries:
        if "banned" in name and not normalize(entry):
            raise UserError(f"data.steps.url.{name}: {entry} has no letter of a to z and no digit; take it out")
    return entries


def _read(file: PinnedFile) -> Iterable[str]:
    try:
        return file.unchanged().read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        raise UserError(f"{file.key}={file.path}: not UTF-8; convert it") from None
