"""The second pass over a unit: what was chosen of it becomes samples, and all that was not is counted and kept."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.errors import UserError
from custom_modules.files import whole_folder
from data_prep.conversations.choice import Choice
from data_prep.conversations.lengths import Encoder, cut_conversation, cut_pair
from data_prep.conversations.messages import COPY, NOT_DRAWN, Conversation, Item, Kind, UnusableError
from data_prep.conversations.read_unit import READING, ReadOptions, RecordCount, read_candidates
from data_prep.conversations.reader import Dropped, Place
from data_prep.conversations.sample_files import SPLIT_NAMES, SplitCount, open_writers
from data_prep.conversations.sets import READERS
from data_prep.input.documents import Removal
from data_prep.input.units import Unit
from data_prep.steps.filter_shard import REMOVED, DocumentWriter
from data_prep.work.shard import write_record

_FORMAT = 1
COPIES, DRAWING, LENGTH = "copies", "drawing", "length"
"""What stands for steps where records are dropped after they were read."""
SPLITS = "splits.json"
"""The file with a `SplitCount` for each split."""


@dataclass(frozen=True)
class WriteOptions:
    """All that defines what is written of a unit beside what was chosen of it."""

    kind: Kind
    read: ReadOptions
    system: Literal["drop", "prepend"]
    length: int
    """Tokens of a sample, at most."""
    tokenizer: str
    """A folder that `ChatTokenizer.load` reads."""
    tokenizer_sha256: str
    vocab_size: int

    def key(self, unit: Unit, choices: bytes) -> str:
        """The name of a unit's folder: another for other options, another choice or a changed source."""
        defining = {
            "format": _FORMAT,
            "read": self.read.key(unit),
            **{name: getattr(self, name) for name in ("kind", "system", "length", "tokenizer_sha256", "vocab_size")},
            "choices": hashlib.blake2b(choices, digest_size=16).hexdigest(),
        }
        return hashlib.blake2b(orjson.dumps(defining), digest_size=16).hexdigest()


def write_unit(folder: Path, key: str, unit: Unit, choices: bytes, options: WriteOptions) -> list[RecordCount]:
    """Read a unit again and publish ``folder/key`` with its samples by split, and with all that was dropped of it.

    Args:
        choices: a `Choice` for each candidate of the unit.

    Raises:
        UserError: the files are not as they were in the first pass, or one cannot be written.
    """
    counts = [RecordCount() for _ in unit]
    encoder = load_tokenizer(options.tokenizer, options.tokenizer_sha256)
    left = iter(choices)
    with whole_folder(folder / key, replace=True) as aside, ExitStack() as stack:
        removed = stack.enter_context(DocumentWriter(aside / REMOVED))
        writers = open_writers(aside, options.kind, options.vocab_size)
        for outcome in read_candidates(unit, counts, READERS[options.read.reader], options.read.on_error):
            if isinstance(outcome, Dropped):
                removal = Removal(READING, outcome.reason, outcome.detail)
                removed.write(_record(unit, outcome.place, removal, dict(outcome.fields)))
                continue
            choice = next(left, None)
            if choice is None:
                raise _changed(unit)
            count = counts[outcome.place.segment]
            if choice == Choice.NOT_DRAWN:
                count.remove(Removal(DRAWING, NOT_DRAWN))
                continue
            why = Removal(COPIES, COPY)
            if choice != Choice.COPY:
                try:
                    cuts = writers[SPLIT_NAMES[choice]].write(_cut(outcome.item, encoder, options))
                    count.documents += 1
                    for cut in cuts:
                        count.cut(cut)
                    continue
                except UnusableError as fault:
                    why = Removal(LENGTH, fault.reason, fault.detail)
            count.remove(why)
            removed.write(_record(unit, outcome.place, why, asdict(outcome.item)))
        if next(left, None) is not None:
            raise _changed(unit)
        written = {split: asdict(writer.finish()) for split, writer in writers.items()}
        (aside / SPLITS).write_bytes(orjson.dumps(written))
        write_record(aside, counts)
    return counts


def _cut(item: Item, encoder: Encoder, options: WriteOptions) -> Any:
    whole = item.with_system() if options.system == "prepend" else item
    if isinstance(whole, Conversation):
        return cut_conversation(whole, encoder, options.length)
    return cut_pair(whole, encoder, options.length)


def _record(unit: Unit, place: Place, removal: Removal, fields: dict[str, Any]) -> dict[str, Any]:
    """What is kept of a dropped record. Its line counts from ``segment_start``, a byte (row group) of the file."""
    segment = unit[place.segment]
    try:
        orjson.dumps(fields)
    except TypeError:  # a lone surrogate, or a number beyond 64 bits
        fields = {}
    said = {"step": removal.step, "reason": removal.reason, "detail": removal.detail}
    return {"source": segment.file.shown, "segment_start": segment.start, "line": place.line, **said, "record": fields}


def _changed(unit: Unit) -> UserError:
    return UserError(f"{unit[0].file.shown}: changed while it was read; run the same command again")


def read_splits(folder: Path) -> dict[str, SplitCount]:
    """Return what a unit has of each split."""
    return {split: SplitCount(**plain) for split, plain in orjson.loads((folder / SPLITS).read_bytes()).items()}


@cache
def load_tokenizer(folder: str, sha256: str) -> ChatTokenizer:
    """Return the tokenizer of a folder, once a process.

    Raises:
        UserError: it is not the one of that hash.
    """
    tokenizer = ChatTokenizer.load(Path(folder))
    if tokenizer.sha256 != sha256:
        raise UserError(f"{folder}: changed while it was used; run the same command again")
    return tokenizer


def import_for_writing() -> None:
    """Do nothing; the import of this module is what takes a worker long."""
