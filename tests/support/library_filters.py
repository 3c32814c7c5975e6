"""What datatrove's filters, as they come, decide about a text, and what our steps do."""

from __future__ import annotations

from typing import Any

from data_prep.input.documents import Document, Removal
from data_prep.steps.library_filter import LibraryFilter, library_class


def library_decision(step: LibraryFilter, text: str, **options: Any) -> tuple[str, str]:
    """Kept and the text, or the reason, by the library's filter."""
    from datatrove.data import Document as LibraryDocument
    from datatrove.pipeline.filters.base_filter import get_filter_result

    document = LibraryDocument(text=text, id="")
    kept, reason = get_filter_result(library_class(step.filter_class)(**options).filter(document))
    return ("kept", document.text) if kept else ("removed", reason)


def decision(outcome: Document | Removal) -> tuple[str, str]:
    """The same of what our step gives."""
    return ("removed", outcome.reason) if isinstance(outcome, Removal) else ("kept", outcome.text)
