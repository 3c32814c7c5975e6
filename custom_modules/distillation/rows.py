"""A teacher's rows: for every token of a dataset what the teacher says of the token after it.

``<prefix>.<teacher>.rows`` holds a record of fixed size for each token of ``<prefix>.bin``, in its order: k ids (16
bits) and k probabilities in one byte each (`custom_modules.distillation.quantised`), 48 bytes at k = 16. So it is read
at the place where tokens are read, and neither batches, devices, seed nor order matter. A record of zeros says nothing:
at a document's last token, and where the teacher's tokens and the dataset's do not begin together.
``<prefix>.<teacher>.rows.json`` says which teacher that is, and of which data and tokenizer.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from custom_modules.distillation.quantised import dequantise, exceed_one
from custom_modules.distillation.record import record_bytes
from custom_modules.errors import UserError
from custom_modules.files import whole_file

Note = TypeVar("Note")
FORMAT: Final = 1
MOST_IDS = 1 << 16
"""The largest vocabulary that ids of 16 bits can tell apart."""
AGAIN = "run `danube teach` again for it"


@dataclass(frozen=True)
class RowsNote:
    """What stands beside a teacher's rows.

    Attributes:
        teacher: its name in ``distillation.teachers``.
        model: identifies the teacher's weights, or the answers that the rows were made of.
        k: ids of a record.
        tokens: records, one per token of the dataset.
        positions: tokens that another token of the same document follows.
        covered: those of them of which the teacher says something.
        bin_sha256, idx_sha256: of the dataset's two files.
        tokenizer_sha256, vocab_size: of the tokenizer whose ids these are.
        sha256: of the rows.
    """

    teacher: str
    model: str
    k: int
    tokens: int
    positions: int
    covered: int
    bin_sha256: str
    idx_sha256: str
    tokenizer_sha256: str
    vocab_size: int
    sha256: str
    format: Literal[1] = FORMAT

    @property
    def share(self) -> float:
        """The share of positions at which the teacher says something."""
        return self.covered / self.positions if self.positions else 0.0

    def write(self, rows: Path) -> None:
        """Publish it beside the rows.

        Raises:
            UserError: it cannot be written.
        """
        whole_file(note_file(rows), orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2))


@dataclass(frozen=True)
class DataOfRows:
    """The dataset that rows should be of.

    Attributes:
        bin_sha256, idx_sha256, tokens: of its two files, as the manifest has them.
        tokenizer_sha256, vocab_size: of the tokenizer that it was encoded with.
    """

    bin_sha256: str
    idx_sha256: str
    tokens: int
    tokenizer_sha256: str
    vocab_size: int


def rows_file(prefix: Path, teacher: str) -> Path:
    """Return where a teacher's rows of a dataset are."""
    return prefix.with_name(f"{prefix.name}.{rows_suffix(teacher)}")


def rows_suffix(teacher: str) -> str:
    """Return what the manifest calls a teacher's rows of a dataset."""
    return f"{teacher}.rows"


def note_file(rows: Path) -> Path:
    """Return where the note of rows is."""
    return rows.with_name(f"{rows.name}.json")


def record_dtype(k: int) -> np.dtype[Any]:
    """Return the dtype of one record: ``ids`` [k] uint16 and ``codes`` [k] uint8, without a gap."""
    return np.dtype([("ids", "<u2", (k,)), ("codes", "u1", (k,))])


def read_rows_note(rows: Path) -> RowsNote:
    """Read what stands beside rows.

    Raises:
        UserError: it is missing, damaged, or of another version.
    """
    path = note_file(rows)
    return parse_note(RowsNote, path, f"{rows.name} is")


def parse_note(kind: type[Note], path: Path, what: str) -> Note:
    """Read a note of its kind.

    Args:
        what: is of unknown data without it, with its verb.

    Raises:
        UserError: it is missing, damaged, or of another version.
    """
    try:
        return TypeAdapter(kind).validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}), so nothing says of what data {what}; {AGAIN}"
        ) from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {where}: {first['msg']}; {AGAIN}") from None


class Rows:
    """A teacher's rows of one dataset, mapped into memory. What is read is checked as it is read.

    Attributes:
        note: what stands beside them.
    """

    def __init__(self, path: Path, note: RowsNote, pointers: NDArray[np.int64], token_bytes: int) -> None:
        self.note = note
        self._path = path
        self._pointers = pointers
        self._token_bytes = token_bytes
        self._records = np.memmap(path, record_dtype(note.k), mode="r", shape=(note.tokens,))

    def rows(self, document: int, offset: int, length: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return what `at` does, from a token of a document on.

        Args:
            document: its number in the dataset's ``.idx``.
            offset: in it, in tokens.
        """
        return self.at(int(self._pointers[document]) // self._token_bytes + offset, length)

    def at(self, token: int, length: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return what the teacher says of the tokens behind some tokens.

        Args:
            token: the place in the dataset's ``.bin``, in tokens, of the first.
            length: how many.

        Returns:
            ids [length, k] int32 and probabilities [length, k] float32, which add up to at most 1; all 0 where the
            teacher says nothing.

        Raises:
            UserError: the rows there are damaged: an id beyond the vocabulary, probabilities adding up to more than 1.
        """
        assert token >= 0 and token + length <= self.note.tokens, (token, length, self.note.tokens)
        records = self._records[token : token + length]
        ids, codes = records["ids"], records["codes"]
        fault = fault_of(ids, codes, self.note.vocab_size, token)
        if fault:
            raise UserError(f"{self._path}: {fault}; {AGAIN}")
        return ids.astype(np.int32), dequantise(codes)


def fault_of(ids: NDArray[np.uint16], codes: NDArray[np.uint8], vocab_size: int, first: int) -> str | None:
    """Say what is wrong with records, [n, k], whose first is that of token ``first``; None if nothing is."""
    over = exceed_one(codes)
    if over.any():
        place = int(np.argmax(over))
        total = float(dequantise(codes[place]).sum(dtype=np.float64))
        return f"the probabilities of token {first + place} add up to {total:.4f}, above 1"
    if vocab_size < MOST_IDS and ids.size and int(ids.max()) >= vocab_size:
        place = int(np.argmax((ids >= vocab_size).any(axis=-1)))
        return f"token {first + place} has id {int(ids[place].max())}, but the vocabulary has {vocab_size}"
    return None


def fault_of_note(note: RowsNote, teacher: str, data: DataOfRows, size: int) -> str | None:
    """Say why rows are not a teacher's of some data; None if they are.

    Args:
        size: of the rows' file, in bytes.
    """
    if note.tokenizer_sha256 != data.tokenizer_sha256 or note.vocab_size != data.vocab_size:
        return (
            f"of another tokenizer ({note.vocab_size} tokens, SHA-256 {note.tokenizer_sha256[:12]}...) than the data's "
            f"({data.vocab_size} tokens, {data.tokenizer_sha256[:12]}...)"
        )
    if (note.bin_sha256, note.idx_sha256) != (data.bin_sha256, data.idx_sha256) or note.tokens != data.tokens:
        return (
            f"of other data ({note.tokens} tokens, SHA-256 {note.bin_sha256[:12]}...) than what is here "
            f"({data.tokens} tokens, {data.bin_sha256[:12]}...)"
        )
    if note.teacher != teacher:
        return f"those of {note.teacher}"
    needed = note.tokens * record_bytes(note.k)
    if size != needed:
        cut = "cut short: " if size < needed else ""
        return f"{cut}{size} bytes, but {note.tokens} tokens of {record_bytes(note.k)} bytes take {needed}"
    return None


def open_rows(prefix: Path, teacher: str, data: DataOfRows, pointers: NDArray[np.int64], token_bytes: int) -> Rows:
    """Map a teacher's rows of a dataset into memory.

    Args:
        prefix: the dataset's files without ``.bin`` and ``.idx``.
        teacher: its name in ``distillation.teachers``.
        pointers: [documents], int64: the byte of the ``.bin`` at which each begins, as its ``.idx`` has them.
        token_bytes: of a token in the ``.bin``.

    Raises:
        UserError: there are none; or they are of another tokenizer, of other data or of another teacher, or cut short.
    """
    path = rows_file(prefix, teacher)
    if not path.is_file():
        raise UserError(
            f"distillation.teachers.{teacher}: there is no {path}; run `danube teach --teacher {teacher} MODEL`, or "
            f"take the teacher out of distillation.teachers"
        )
    note = read_rows_note(path)
    fault = fault_of_note(note, teacher, data, path.stat().st_size)
    if fault:
        raise UserError(f"{path}: {fault}; {AGAIN}")
    return Rows(path, note, pointers, token_bytes)
