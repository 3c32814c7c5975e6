"""The files of ``data.sources``, and which set each source is."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from custom_modules.data.layout import is_prepared
from custom_modules.errors import UserError
from custom_modules.text import spelled
from data_prep.conversations.messages import Kind
from data_prep.conversations.reader import Reader
from data_prep.conversations.sets import READERS, tell_set
from data_prep.conversations.sets.oasst2_pairs import Oasst2Pairs, Oasst2PairsAtEnds
from data_prep.input.documents import Damage
from data_prep.input.formats import format_of
from data_prep.input.hub import fetch, is_hub_address
from data_prep.input.input_files import InputFile, Listing, find_input_files
from data_prep.input.json_file import is_array
from data_prep.input.json_lines import WholeRecord
from data_prep.input.objects import read_objects
from data_prep.input.parquet import DamagedError, open_parquet
from data_prep.input.units import Segment, Unit, split_units
from data_prep.input.walk import PassedOver
from data_prep.work.progress import say

_SPLITS: dict[Kind, tuple[str, ...]] = {
    "conversations": (r"train_sft[-._]", r"train([-.]|_\d)"),
    "pairs": (r"train_prefs[-._]", r"train([-.]|_\d)"),
}
"""How the names of files begin that are of the split to train on, the first that any file has."""
_LOOKED_AT = 100
"""Records that are looked at for their columns where some cannot be read."""


@dataclass(frozen=True)
class GivenSource:
    """A source as the config has it."""

    name: str
    path: str
    format: str | None = None
    """None: told by the columns."""
    max_samples: int | None = None
    """How many of it are trained on; None: all."""
    system: Literal["drop", "prepend"] = "drop"
    ends_only: bool = False
    """Of pairs from trees those at the ends of conversations alone."""

    @property
    def key(self) -> str:
        return f"data.sources.{self.name}"


@dataclass(frozen=True)
class Source:
    """A source with its files, of one set."""

    given: GivenSource
    reader: str
    files: list[InputFile] = field(default_factory=list)
    revision: str | None = None
    """The commit on the hub that it was fetched from."""

    def units(self, shard_bytes: int) -> list[Unit]:
        """Cut the files into pieces of work; all in one where the set is read at once."""
        if READERS[self.reader].reads_all_at_once:
            return [tuple(map(Segment.whole, self.files))] if self.files else []
        units: list[Unit] = []
        pending: list[InputFile] = []
        for file in self.files:
            if _is_array(file):
                units += [*split_units(pending, shard_bytes), (Segment.whole(file),)]
                pending = []
            else:
                pending.append(file)
        return [*units, *split_units(pending, shard_bytes)]


def find_sources(given: Sequence[GivenSource], kind: Kind, exclude: Path) -> tuple[list[Source], Listing]:
    """Find the files of every source, from a hub too, and tell its set.

    Args:
        exclude: the folder of the result.

    Raises:
        UserError: a source that is not there, holds nothing, or whose set cannot be told or is not for such a run.
        PassingError: a hub that fails.
    """
    paths: dict[str, list[Path]] = {}
    revisions: dict[str, str] = {}
    for source in given:
        if source.format is not None:
            _check_format(source, source.format, kind)
        if is_hub_address(source.path):
            found = fetch(source.path, f"{source.key}.path", lambda names: _names_to_read(names, kind), say)
            paths[source.name] = list(found.files.values())
            revisions[source.name] = found.revision
        else:
            paths[source.name] = [Path(source.path)]
    listing = find_input_files(paths, exclude, None, is_prepared, takes_arrays=True, key_end=".path")
    chosen = {source.name: _to_read(source, listing, kind) for source in given}
    sources = [
        Source(source, _format_of(source, chosen[source.name], kind), chosen[source.name], revisions.get(source.name))
        for source in given
    ]
    listing.files[:] = [file for source in sources for file in source.files]
    return sources, listing


def _to_read(source: GivenSource, listing: Listing, kind: Kind) -> list[InputFile]:
    """The files of a source, but for plain text and other splits, which are noted as passed over."""
    files = [file for file in listing.files if file.source == source.name]
    if files and Path(source.path).is_file() and format_is_text(files[0]):
        raise UserError(f"{source.key}.path={source.path}: plain text holds no conversations; give JSON or Parquet")
    texts = {file.path for file in files if format_is_text(file)}
    names = {file.path: Path(file.path).name for file in files if file.path not in texts}
    wanted = {*_names_to_read(list(names), kind)}
    for file in files:
        if file.path in texts:
            listing.passed_over.append(PassedOver.by_suffix(Path(file.path), file.bytes))
        elif file.path not in wanted:
            listing.passed_over.append(PassedOver(Path(file.path), "of another split", file.bytes))
    chosen = [file for file in files if file.path in wanted]
    if not chosen and not any(file.source == source.name for file in listing.unreadable):
        raise UserError(f"{source.key}.path={source.path}: holds no JSON or Parquet file; give one that does")
    return chosen


def format_is_text(file: InputFile) -> bool:
    """Tell whether a file is plain text."""
    kind = format_of(file.path)
    return kind is not None and kind.layout == "text"


def _names_to_read(names: Sequence[str], kind: Kind) -> list[str]:
    """Of several files those of the split to train on, where their names tell."""
    for pattern in _SPLITS[kind]:
        if found := [name for name in names if re.match(pattern, Path(name).name)]:
            return found
    return [*names]


def _is_array(file: InputFile) -> bool:
    kind = format_of(file.path)
    return kind is not None and kind.layout == "lines" and is_array(Segment.whole(file))


def _check_format(source: GivenSource, name: str, kind: Kind) -> Reader:
    where = f"{source.key}.format={name}"
    known = [reader.name for reader in READERS.values() if reader.kind == kind]
    if name not in READERS:
        raise UserError(f"{where}: no such set; there are {', '.join(known)}")
    if READERS[name].kind != kind:
        raise UserError(f"{where}: a set of {READERS[name].kind}, and this run takes {kind}: {', '.join(known)}")
    return READERS[name]


def _format_of(source: GivenSource, files: Sequence[InputFile], kind: Kind) -> str:
    """The set of a source's files: all are of one."""
    found: dict[str, InputFile] = {}
    for file in files:
        columns = _columns(file)
        if columns is None:
            continue
        if source.format is not None:
            if not READERS[source.format].known_columns(columns):
                needed = " or ".join(", ".join(sorted(some)) for some in READERS[source.format].known_by)
                raise UserError(f"{source.key}.format={source.format}: {file.shown} has {columns}, not {needed}")
            continue
        reader = tell_set(columns, kind)
        if reader is None:
            raise UserError(_of_no_set(source, file, columns, kind))
        found.setdefault(reader.name, file)
    if len(found) > 1:
        (one, first), (other, second), *_ = found.items()
        raise UserError(
            f"{source.key}.path={source.path}: {first.shown} is of {one} and {second.shown} of {other}; make two "
            "sources of them"
        )
    if source.format is None and not found:
        raise UserError(
            f"{source.key}.path={source.path}: no record can be read that tells which set it is; mend it, or give "
            f"{source.key}.format"
        )
    return _at_ends(source, source.format or next(iter(found)))


def _at_ends(source: GivenSource, name: str) -> str:
    """The reader of a set, or the one that leaves out all but ends."""
    if not source.ends_only:
        return name
    if name not in (Oasst2Pairs.name, Oasst2PairsAtEnds.name):
        raise UserError(f"{source.key}.ends_only=true: only for {Oasst2Pairs.name}, and this is {name}; leave it out")
    return Oasst2PairsAtEnds.name


def _of_no_set(source: GivenSource, file: InputFile, columns: list[str], kind: Kind) -> str:
    where = f"{source.key}.path={source.path}: {file.shown} has {', '.join(columns)[:300]}"
    other = tell_set(columns, "pairs" if kind == "conversations" else "conversations")
    if other is not None:
        return f"{where}: a set of {other.kind} ({other.name}), and this run takes {kind}; give another"
    known = "; ".join(
        f"{one.name}: {', '.join(sorted(one.known_by[0]))}" for one in READERS.values() if one.kind == kind
    )
    return f"{where}, which no set has ({known}); rename columns, or give another file"


def _columns(file: InputFile) -> list[str] | None:
    """The columns of a file; None where no record of it can be read, which is for its reader to say."""
    kind = format_of(file.path)
    assert kind is not None
    if kind.layout == "parquet":
        try:
            with open_parquet(file.path) as opened:
                return list(opened.schema_arrow.names)
        except DamagedError:
            return None
    left = _LOOKED_AT
    for found in read_objects(Segment.whole(file), ()):
        left -= 1
        if isinstance(found, WholeRecord):
            return [name if name.isprintable() else spelled(name) for name in found.fields]
        if isinstance(found, Damage) or not left:
            return None
    return None


def identity_of(sources: Sequence[Source]) -> list[Mapping[str, object]]:
    """Return plain values that differ where another source, or another treatment of it, makes other data."""
    return [
        {
            "name": source.given.name,
            "path": spelled(source.given.path),
            "format": source.reader,
            "max_samples": source.given.max_samples,
            "system": source.given.system,
            "revision": source.revision,
        }
        for source in sources
    ]
