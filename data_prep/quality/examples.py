"""Examples to train a quality model on: labelled texts, or good reference text (1) against raw text (0)."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from custom_modules.errors import UserError
from custom_modules.system import usable_cores
from data_prep.builtin.inputs import collect_builtin, has_builtin, list_files
from data_prep.input.documents import Damage, Document
from data_prep.input.input_files import DamagedFile, InputFile, Listing
from data_prep.input.readers import read_segment
from data_prep.input.units import Segment
from data_prep.quality.labelled import check_layout, read_labelled
from data_prep.quality.options import QualityOptions
from data_prep.work.damaged_files import damage_lines, examine, refuse
from data_prep.work.progress import say
from data_prep.work.workers import Workers

CLASSES = ("raw", "good")
"""A label's name."""
_MIN_OF_A_PART = 10


@dataclass(frozen=True)
class Examples:
    """Different texts in the order of their content hashes, whatever the order of the files."""

    texts: list[str]
    labels: NDArray[np.uint8]
    """The class of each, 1 for a good text: [texts], 0 or 1."""
    held_out: NDArray[np.bool_]
    """Whether each is held out, a function of the text alone: [texts]."""
    read: tuple[int, int]
    """Texts of each label before copies, and those above ``max_examples``, were left out."""
    rejected: int
    """Records of reference and raw files that cannot be read as a text."""

    def part(self, held_out: bool) -> tuple[list[str], NDArray[np.uint8]]:
        """The texts and labels to train on, or those that are held out."""
        chosen = np.flatnonzero(self.held_out == held_out)
        return [self.texts[index] for index in chosen], self.labels[chosen]

    def counts(self, held_out: bool) -> dict[str, int]:
        """Examples of a part by the name of their class."""
        found = np.bincount(self.labels[self.held_out == held_out], minlength=2)
        return {name: int(number) for name, number in zip(CLASSES, found, strict=True)}

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of all texts with their labels and parts."""
        result = hashlib.sha256()
        for text, label, held_out in zip(self.texts, self.labels, self.held_out, strict=True):
            content = text.encode()
            result.update(b"%d %d %d\n" % (label, held_out, len(content)))
            result.update(content)
        return result.hexdigest()


def read_examples(
    good: Sequence[Path], raw: Sequence[Path], labelled: Sequence[Path], output: Path, options: QualityOptions
) -> Examples:
    """Read files once and keep the examples.

    Texts that differ in white space only are one example, and a text that is good and raw is good. Memory holds
    ``max_examples`` texts of each class, however many are read.

    Args:
        good, raw: what ``data.input`` can be: files or folders in any format, or a piece of the builtin corpus.
        labelled: JSON lines, instead of both.
        output: a folder to leave out.

    Raises:
        UserError: neither a pair nor labelled files, a file that cannot be read when ``on_damaged_file`` is ``fail``,
            or too few examples of a class.
    """
    given = {"good": good, "raw": raw, "labelled": labelled}
    if bool(labelled) == bool(good or raw) or bool(good) != bool(raw):
        chosen = ", ".join(key for key, paths in given.items() if paths) or "nothing"
        raise UserError(f"{chosen} is given to learn from; give good and raw files, or labelled files alone")
    samples = [_Sample(options.max_examples) for _ in CLASSES]
    rejected = 0
    with _listing({key: list(map(str, paths)) for key, paths in given.items() if paths}, output, options) as listing:
        damaged = list(listing.unreadable)
        for file in listing.files:
            for found in read_labelled(file, options) if file.source == "labelled" else _read(file, options):
                if isinstance(found, Damage):
                    damaged += [DamagedFile(file.shown, file.source, found.reason)] if found.is_lost else []
                elif found[0] is None:
                    rejected += 1
                else:
                    samples[found[1]].offer(found[0])
    if options.on_damaged_file == "fail":
        refuse(damaged, "on_damaged_file")
    for line in damage_lines(damaged):
        say(line)
    return _check(_assemble(samples, rejected, options), given, options)


class _Sample:
    """The texts of a class with the smallest digests, each once: a random choice that the order does not change."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._largest_first: list[tuple[int, str]] = []
        self._digests: set[int] = set()
        self.read = 0

    def offer(self, text: str) -> None:
        self.read += 1
        entry = -_digest(text), text
        if -entry[0] in self._digests:
            return
        if len(self._largest_first) < self._size:
            heapq.heappush(self._largest_first, entry)
        elif entry[0] > self._largest_first[0][0]:
            self._digests.remove(-heapq.heapreplace(self._largest_first, entry)[0])
        else:
            return
        self._digests.add(-entry[0])

    def texts(self) -> dict[int, str]:
        return {-negative: text for negative, text in self._largest_first}


def _digest(text: str) -> int:
    content = " ".join(text.split()).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=16, person=b"danube quality").digest(), "big")


def _assemble(samples: Sequence[_Sample], rejected: int, options: QualityOptions) -> Examples:
    by_label = [sample.texts() for sample in samples]
    labelled = {
        digest: (text, label) for label, texts in enumerate(by_label) for digest, text in texts.items()
    }  # in the order of the labels, so that good comes last and stands
    digests = sorted(labelled)
    # The sample is of small digests, which is to say of small high bits: the low ones are as random as ever.
    held_out = [digest % 2**64 < options.held_out_fraction * 2**64 for digest in digests]
    return Examples(
        [labelled[digest][0] for digest in digests],
        np.array([labelled[digest][1] for digest in digests], np.uint8),
        np.array(held_out, np.bool_),
        (samples[0].read, samples[1].read),
        rejected,
    )


@contextmanager
def _listing(given: Mapping[str, Sequence[str]], output: Path, options: QualityOptions) -> Iterator[Listing]:
    """Files, each with the name of what it was given as; those that say at once that they cannot be read are refused.

    Errors name this command's keys.
    """
    with TemporaryDirectory() as passing:
        corpus = None
        if has_builtin(given):
            with Workers(usable_cores()) as workers:
                corpus = collect_builtin(given, Path(options.corpus or passing), options.text_key, workers)
        try:
            listing = list_files(given, corpus, output, options.text_key)
            for file in listing.files:
                if file.source == "labelled":
                    check_layout(file)
            examine(listing, options.on_damaged_file, options.text_key, None, "on_damaged_file")
        except UserError as error:
            raise UserError(str(error).replace("data.sources.", "").removeprefix("data.")) from None
        yield listing


def _read(file: InputFile, options: QualityOptions) -> Iterator[tuple[str | None, int] | Damage]:
    label = CLASSES.index(file.source)
    for record in read_segment(Segment.whole(file), options.text_key):
        if isinstance(record, Damage):
            yield record
        else:
            yield (record.text if isinstance(record, Document) else None), label


def _check(examples: Examples, given: Mapping[str, Sequence[Path]], options: QualityOptions) -> Examples:
    """Refuse what nothing can be learnt from, or what no report could be made of."""
    for label, name in enumerate(CLASSES):
        key = "labelled" if given["labelled"] else name
        where = f"{key}={','.join(map(str, given[key]))}"
        found = int((examples.labels == label).sum())
        if found < options.min_examples:
            raise UserError(
                f"{where}: {found} different {name} texts (label {label}) and {len(examples.texts) - found} others; "
                f"give more {name} text, at least min_examples={options.min_examples}"
            )
        fewest = min(examples.counts(held_out)[name] for held_out in (False, True))
        if fewest < _MIN_OF_A_PART:
            raise UserError(
                f"{where}: held_out_fraction={options.held_out_fraction} divides {found} {name} texts into {fewest} "
                f"and {found - fewest}; give more text, or another fraction: each part needs {_MIN_OF_A_PART}"
            )
    return examples
