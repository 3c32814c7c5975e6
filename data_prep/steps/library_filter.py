"""Steps that decide by a filter class of datatrove, with that class's options and defaults."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any, ClassVar

import orjson

from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.steps.library_options import as_arguments, with_defaults


class LibraryFilter:
    """Keeps, changes or removes a document as the library's filter does; the reason is the filter's own.

    ``options`` has every option of the filter and the versions of the packages that decide with it. An instance is
    small and picklable; a process makes the filter for its first document.

    Args:
        options: the filter's constructor's.

    Raises:
        UserError: a package is missing.
    """

    name: ClassVar[str]
    filter_class: ClassVar[str]
    """The filter's module in ``datatrove.pipeline.filters`` and its name."""
    not_offered: ClassVar[frozenset[str]] = frozenset(("exclusion_writer", "language"))
    """Parameters of the filter that are no options: removed documents are kept by us, and the words are English."""

    options: Mapping[str, object]

    def __init__(self, **options: Any) -> None:
        found = library_class(self.filter_class)
        self._recipe = with_defaults(found, options, self.not_offered)
        self.options = {**self._recipe, "versions": self.versions(found)}

    @classmethod
    def make_filter(cls, recipe: dict[str, Any]) -> Any:
        """The library's filter for a step's ``_recipe``, which is plain values."""
        return library_class(cls.filter_class)(**as_arguments(recipe))

    def __call__(self, document: Document) -> Document | Removal:
        from datatrove.data import Document as LibraryDocument
        from datatrove.pipeline.filters.base_filter import get_filter_result

        handed = LibraryDocument(text=document.text, id="", metadata={"url": document.url})
        try:
            kept, reason = get_filter_result(self.library_filter.filter(handed))
        except ZeroDivisionError:  # The number of words or lines, where no minimum has removed a text without any.
            return Removal(self.name, "empty")
        if not kept:
            return Removal(self.name, reason or self.name, self.detail(handed.metadata))
        return self.outcome(document, handed.text)

    def outcome(self, document: Document, text: str) -> Document:
        """A kept document, given what the filter has made of its text."""
        return document

    def detail(self, metadata: Mapping[str, Any]) -> str:
        """A removal's, given what the filter has noted about the document."""
        return ""

    @property
    def library_filter(self) -> Any:
        """The library's filter: one a process, for equal options."""
        return _made(self.make_filter, orjson.dumps(self._recipe))

    def versions(self, library_class: Any) -> dict[str, str]:
        """Return the versions of the packages that may change an outcome.

        Raises:
            UserError: one is missing.
        """
        needed = list(getattr(library_class, "_requires_dependencies", []))
        self.require(needed)
        packages = [package if isinstance(package, str) else package[1] for package in needed]
        return {package: metadata.version(package) for package in ("datatrove", *packages)}

    def require(self, packages: Sequence[str | tuple[str, str]]) -> None:
        """Refuse to go on where a package is missing.

        Args:
            packages: names, or pairs of a module's name and its package's.

        Raises:
            UserError: one is not installed.
        """
        from datatrove.utils._import_utils import check_required_dependencies

        try:
            check_required_dependencies(f"data.steps.{self.name}", list(packages))
        except ImportError as error:
            raise UserError(f"data.steps.{self.name}: {error}") from None


@cache
def _made(make: Callable[[dict[str, Any]], Any], recipe: bytes) -> Any:
    made = make(orjson.loads(recipe))
    # Its statistics take longer than its decisions, and nobody reads them.
    made.stat_update = _ignore
    return made


def _ignore(*labels: str, value: int = 1, unit: str | None = None) -> None:
    return None


def library_class(name: str) -> Any:
    """Return a filter class of datatrove.

    Args:
        name: module in ``datatrove.pipeline.filters`` and class, as in `LibraryFilter.filter_class`.
    """
    module, _, class_name = name.rpartition(".")
    return getattr(importlib.import_module(f"datatrove.pipeline.filters.{module}"), class_name)
