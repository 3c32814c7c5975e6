"""What teachers have said, as tables of the data card."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from custom_modules.data.check_taught import ROWS, TEXTS_NOTE, taught_files
from custom_modules.data.manifest import Manifest, Part
from custom_modules.distillation.rows import read_rows_note
from custom_modules.distillation.texts import read_texts_note
from custom_modules.errors import UserError
from data_prep.output.card_format import Table

Row = tuple[str, ...]


def teachers_tables(manifest: Manifest) -> Iterator[Table]:
    """Give a table of the teachers' distributions and one of their texts, where there are any."""
    rows: list[Row] = []
    texts: list[Row] = []
    for stage, _, part in manifest.datasets():
        rows += list(_rows(stage, part))
        texts += list(_texts(stage, part))
    if rows:
        header: Row = ("teacher", "stage", "source", "tokens at each place", "positions", "of which it speaks at")
        text = "A teacher says nothing where its tokens and the data's do not begin together."
        yield Table("Teachers' distributions", text, [header, *rows])
    if texts:
        header = ("teacher", "stage", "source", "documents", "texts", "too short", "without an answer")
        again = ("generated again", "dropped")
        text = "A text with a benchmark's text in it was generated again, and dropped where that did not help."
        yield Table("Teachers' texts", text, [(*header, *again), *texts])


def _rows(stage: str, part: Part) -> Iterator[Row]:
    for suffix, path in taught_files(part).items():
        if suffix.endswith(ROWS):
            with suppress(UserError):
                note = read_rows_note(path)
                yield (note.teacher, stage, part.source, f"{note.k}", f"{note.positions:,}", f"{note.share:.2%}")


def _texts(stage: str, part: Part) -> Iterator[Row]:
    for suffix, path in taught_files(part).items():
        if suffix.endswith(TEXTS_NOTE):
            with suppress(UserError):
                note = read_texts_note(path)
                counts = (note.documents, note.texts, note.too_short, note.without, note.generated_again, note.dropped)
                yield (note.teacher, stage, part.source, *(f"{number:,}" for number in counts))
