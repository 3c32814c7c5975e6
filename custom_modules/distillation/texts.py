"""A teacher's texts: beside every distilled document another that begins alike.

``<prefix>.<teacher>.texts.bin`` and ``.idx`` are an indexed dataset of as many documents as the one of ``<prefix>``, in
the same order: document d is an alternative to document d. It begins with the first ``prefix_tokens`` tokens of that,
and what follows is the teacher's, up to the end of the document where the teacher has ended it. One of no more tokens
than the prefix, a single end of a document, is none: the document was too short to continue, or its alternatives were
dropped. ``<prefix>.<teacher>.texts.json`` says which teacher that is, and of which data and tokenizer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import orjson

from custom_modules.distillation.rows import AGAIN, DataOfRows, parse_note
from custom_modules.errors import UserError
from custom_modules.files import whole_file

FORMAT: Final = 1


@dataclass(frozen=True)
class TextsNote:
    """What stands beside a teacher's texts.

    Attributes:
        teacher: its name in ``distillation.teachers``.
        model: identifies the teacher's weights, or the answers that these are.
        prefix_tokens: tokens that each text has of its document.
        documents, tokens: of the texts, those that are none among them.
        texts: documents that have one.
        too_short: documents without anything behind the prefix.
        without: documents for which the teacher has no answer.
        generated_again: texts that were written again, since they had text of a benchmark; each try counts.
        dropped: documents whose texts had some at every try.
        bin_sha256, idx_sha256: of the dataset's two files.
        tokenizer_sha256, vocab_size: of the tokenizer whose ids these are.
        sha256: of the texts' own files, by ``bin`` and ``idx``.
    """

    teacher: str
    model: str
    prefix_tokens: int
    documents: int
    tokens: int
    texts: int
    too_short: int
    without: int
    generated_again: int
    dropped: int
    bin_sha256: str
    idx_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    sha256: dict[str, str]
    format: Literal[1] = FORMAT

    def write(self, path: Path) -> None:
        """Publish it.

        Raises:
            UserError: it cannot be written.
        """
        whole_file(path, orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


def texts_prefix(prefix: Path, teacher: str) -> Path:
    """Return the prefix of the indexed dataset that a teacher's texts beside a dataset are."""
    return prefix.with_name(f"{prefix.name}.{texts_suffix(teacher)}")


def texts_suffix(teacher: str) -> str:
    """Return what begins the names that the manifest has for the files of a teacher's texts."""
    return f"{teacher}.texts"


def texts_note_file(prefix: Path, teacher: str) -> Path:
    """Return where the note of a teacher's texts beside a dataset is."""
    return prefix.with_name(f"{prefix.name}.{texts_suffix(teacher)}.json")


def read_texts_note(path: Path) -> TextsNote:
    """Read what stands beside texts.

    Raises:
        UserError: it is missing, damaged, or of another version.
    """
    return parse_note(TextsNote, path, "these texts are")


def check_texts(prefix: Path, teacher: str, data: DataOfRows, documents: int, prefix_tokens: int) -> TextsNote:
    """Make sure that a teacher's texts are there, and beside this dataset.

    Args:
        documents: of the dataset.
        prefix_tokens: ``distillation.prefix_tokens``.

    Raises:
        UserError: there are none, or they are of another tokenizer, of other data, of another teacher or with a prefix
            of another length, or a file is missing.
    """
    path = texts_note_file(prefix, teacher)
    if not path.is_file():
        raise UserError(
            f"distillation.teachers.{teacher}: there is no {path}; run `danube teach --teacher {teacher}` with --texts "
            "and a MODEL or with --import, or take the teacher out of distillation.teachers"
        )
    note = read_texts_note(path)
    own = texts_prefix(prefix, teacher)
    missing = [kind for kind in ("bin", "idx") if not own.with_name(f"{own.name}.{kind}").is_file()]
    fault = fault_of_texts(note, teacher, data, documents, prefix_tokens)
    fault = f"its .{missing[0]} is missing" if missing else fault
    if fault:
        raise UserError(f"{own}: {fault}; {AGAIN}")
    return note


def fault_of_texts(note: TextsNote, teacher: str, data: DataOfRows, documents: int, prefix_tokens: int) -> str | None:
    """Say why texts are not a teacher's beside some data; None if they are."""
    if (note.tokenizer_sha256, note.vocab_size) != (data.tokenizer_sha256, data.vocab_size):
        return f"of another tokenizer (SHA-256 {note.tokenizer_sha256[:12]}...) than the data's"
    if (note.bin_sha256, note.idx_sha256) != (data.bin_sha256, data.idx_sha256) or note.documents != documents:
        return f"beside other data ({note.documents} documents) than what is here ({documents})"
    if note.teacher != teacher:
        return f"those of {note.teacher}"
    if note.prefix_tokens != prefix_tokens:
        return f"they have {note.prefix_tokens} tokens of each document, but distillation.prefix_tokens={prefix_tokens}"
    return None
