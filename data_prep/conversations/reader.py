"""What a reader of a set is, and what it gives."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from data_prep.conversations.messages import Item, Kind, UnreadableError, UnusableError

Fields = Mapping[str, Any]


class Place(NamedTuple):
    """Where a record is."""

    segment: int
    """The number of its segment in its unit."""
    line: int
    """The line, number in an array, or row, from 1 at the start of the segment."""


class Candidate(NamedTuple):
    """Something to learn from, by the record that it is counted with."""

    place: Place
    item: Item


class Joined(NamedTuple):
    """A record that is a part of a candidate that another record is counted with."""

    place: Place


class Dropped(NamedTuple):
    """A record that is not learnt from."""

    place: Place
    reason: str
    detail: str
    fields: Fields
    """What it says, as far as that is worth keeping."""


class Refused(NamedTuple):
    """A record that cannot be read as its set's."""

    place: Place
    reason: str


Outcome = Candidate | Joined | Dropped | Refused
Placed = tuple[Place, Fields]


class Reader(ABC):
    """Makes candidates of a set's records: one outcome for each, in whatever order."""

    name: ClassVar[str]
    """The set's, as ``data.sources.NAME.format`` has it."""
    kind: ClassVar[Kind]
    known_by: ClassVar[tuple[frozenset[str], ...]]
    """Columns that tell the set: all of any of these."""
    columns: ClassVar[frozenset[str]]
    """All that is read, where it is there."""
    reads_all_at_once: ClassVar[bool] = False
    """Whether records anywhere in the source may belong together; then they are all held."""

    @classmethod
    def known_columns(cls, columns: Collection[str]) -> int:
        """Return by how many columns a record is told to be of the set; 0: it is not."""
        return max((len(needed) for needed in cls.known_by if needed <= {*columns}), default=0)

    def records(self, fields: Fields) -> Iterable[Fields]:
        """Return the records of a line, element or row: itself, but in sets that nest them.

        Raises:
            UnreadableError: it cannot be read as the set's.
        """
        return (fields,)

    @abstractmethod
    def outcomes(self, records: Iterator[Placed]) -> Iterator[Outcome]:
        """Give an outcome for each record of a unit."""


class RowReader(Reader):
    """A reader of a set each of whose records is a conversation or a pair by itself."""

    @abstractmethod
    def read(self, fields: Fields) -> Item:
        """Return what a record says.

        Raises:
            UnreadableError: it is none of the set's.
            UnusableError: it is not to be learnt from.
        """

    def outcomes(self, records: Iterator[Placed]) -> Iterator[Outcome]:
        """Give an outcome for each record, in their order."""
        for place, fields in records:
            try:
                yield Candidate(place, self.read(fields))
            except UnreadableError as fault:
                yield Refused(place, str(fault))
            except UnusableError as fault:
                kept = {key: value for key, value in fields.items() if key in self.columns}
                yield Dropped(place, fault.reason, fault.detail, kept)
