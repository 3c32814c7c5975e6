"""``manifest.json``, written and read: what `danube prepare` left in ``data.dir``.

Needs neither torch nor numpy: the plan reads it too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from custom_modules.config.schema import Config
from custom_modules.config.streams import Stream
from custom_modules.data.layout import MANIFEST
from custom_modules.data.manifest_file import read_as
from custom_modules.errors import UserError
from custom_modules.files import whole_file

FORMAT: Final = 1
SCORES = "scores.parquet"
"""The suffix of the file that has the scores of a dataset's documents, where quality models were at work."""
PREPARED = ("bin", "idx", SCORES)
"""The suffixes of what `danube prepare` makes; others are teachers'."""
Split = Literal["train", "validation"]
Lengths = tuple[tuple[int, int], ...]
"""Documents and their tokens, together, by length: see `custom_modules.data.lengths`."""


@dataclass(frozen=True)
class Part:
    """One Megatron indexed dataset: ``prefix.bin`` and ``prefix.idx``, and maybe scores."""

    prefix: Path
    source: str
    documents: int
    tokens: int
    dtype: str
    bytes: dict[str, int]
    """The size of each file, by its suffix."""
    sha256: dict[str, str]
    stream: Stream = "plain"
    """The steps of a stage that read it, where it has distilled ones."""
    lengths: Lengths | None = None
    """None: the manifest is of a version before 0.2."""

    def plain_values(self, directory: Path) -> dict[str, Any]:
        """Return what a manifest in a folder says of it; that it is of the plain stream goes without saying."""
        values = {**asdict(self), "prefix": os.path.relpath(self.prefix, directory)}
        if self.stream == "plain":
            del values["stream"]
        if self.lengths is None:
            del values["lengths"]
        else:
            values["lengths"] = orjson.Fragment(orjson.dumps(self.lengths))
        return values

    @property
    def bin(self) -> Path:
        return self.prefix.with_name(self.prefix.name + ".bin")

    @property
    def idx(self) -> Path:
        return self.prefix.with_name(self.prefix.name + ".idx")

    def beside(self, suffix: str) -> Path:
        """Return a file of the dataset by its suffix."""
        return self.prefix.with_name(f"{self.prefix.name}.{suffix}")

    @property
    def scores(self) -> Path | None:
        """The file of its documents' scores, if there is one: see `custom_modules.data.scores`."""
        return self.prefix.with_name(f"{self.prefix.name}.{SCORES}") if SCORES in self.bytes else None


@dataclass(frozen=True)
class TokenizerEntry:
    """What a manifest says of its tokenizer."""

    library: Literal["sentencepiece", "huggingface"]
    file: str
    """The path in ``data.dir``."""
    sha256: str
    vocab_size: int
    eos_id: int


@dataclass(frozen=True)
class Manifest:
    """The prepared data of every stage, the tokenizer it was encoded with, and what it was made of."""

    path: Path
    """The manifest's own; the parts' prefixes begin with its folder."""
    format: Literal[1]
    options: dict[str, Any]
    """What defines the data beside its sources and its tokenizer."""
    tokenizer: TokenizerEntry
    stages: dict[str, dict[Split, list[Part]]]
    sources: list[dict[str, Any]] = field(default_factory=list)
    """For each input file its place, its content and what became of its records."""
    skipped: dict[str, Any] = field(default_factory=dict)
    """How many ``records`` could not be read, and the ``first`` of them by name."""
    damaged: dict[str, Any] = field(default_factory=dict)
    """How many ``files`` could not be read, whole or in part, and all of them, ``named`` with the reason."""
    removed: dict[str, dict[str, int]] = field(default_factory=dict)
    """Documents that were taken out, by step and reason."""
    benchmarks: list[dict[str, Any]] = field(default_factory=list)
    """What decontamination found of each benchmark."""
    shared_texts: int = 0
    """How many texts several sources hold: all their copies are in one stage and one split."""

    @property
    def tokenizer_file(self) -> Path:
        return self.path.parent / self.tokenizer.file

    @property
    def tokenizer_sha256(self) -> str:
        return self.tokenizer.sha256

    @property
    def eos_id(self) -> int:
        return self.tokenizer.eos_id

    def stage_names(self) -> set[str]:
        """Return the stages that were asked for, and those that have data."""
        wanted = self.options.get("stages")
        return {*self.stages, *(wanted if isinstance(wanted, dict) else ())}

    def datasets(self) -> Iterator[tuple[str, Split, Part]]:
        """Give every dataset with its stage and split."""
        for stage, splits in self.stages.items():
            yield from ((stage, split, part) for split, parts in splits.items() for part in parts)

    def files(self, taught: bool = True) -> dict[Path, int]:
        """Return the bytes of every dataset's files, by their path in ``data.dir``.

        Args:
            taught: with those that teachers made.
        """
        return {
            self.relative(part).with_name(f"{part.prefix.name}.{suffix}"): size
            for _, _, part in self.datasets()
            for suffix, size in part.bytes.items()
            if taught or suffix in PREPARED
        }

    def write(self) -> None:
        """Publish the file.

        Raises:
            UserError: it cannot be written.
        """
        content = {
            "format": self.format,
            "options": self.options,
            "tokenizer": asdict(self.tokenizer),
            "sources": self.sources,
            "skipped": self.skipped,
            "damaged": self.damaged,
            "removed": self.removed,
            "benchmarks": self.benchmarks,
            "shared_texts": self.shared_texts,
            "stages": {
                stage: {
                    split: [part.plain_values(self.path.parent) for part in parts] for split, parts in splits.items()
                }
                for stage, splits in self.stages.items()
            },
        }
        whole_file(self.path, orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def relative(self, part: Part) -> Path:
        """Return a dataset's prefix in ``data.dir``: it stays where that folder is moved, or spelled otherwise."""
        return Path(os.path.relpath(part.prefix, self.path.parent))

    def parts(self, stage: str, split: Split) -> list[Part]:
        """Raises UserError if the stage was not prepared."""
        parts = self.stages.get(stage, {}).get(split, [])
        if not parts:
            raise UserError(f"{self.path}: no {split} data for {stage}; run `danube prepare` with this config")
        return parts

    def digest(self, stage: str, teachers: Collection[str] = ()) -> str:
        """Identifies a stage's training data: a position in it means nothing in other data.

        Args:
            teachers: whose rows and texts beside the data belong to it.
        """
        parts = self.parts(stage, "train")
        hashes = [part.sha256[kind] for part in parts for kind in ("bin", "idx")]
        said = (f"{name}.{kind}" for name in teachers for kind in ("rows", "texts.bin", "texts.idx"))
        hashes += [part.sha256[suffix] for suffix in said for part in parts if suffix in part.sha256]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def read_manifest(directory: Path) -> Manifest | None:
    """Read the manifest of a folder, held against no config; None if it has none.

    Raises:
        UserError: one that cannot be understood; names what in it.
        UnreadableError: the system refuses to read it.
    """
    read = read_as(Manifest, directory / MANIFEST, "prepared data")
    if read is None:
        return None
    for splits in read.stages.values():
        for split, parts in splits.items():
            splits[split] = [replace(part, prefix=directory / part.prefix) for part in parts]
    return read


def load_manifest(config: Config) -> Manifest:
    """Read ``data.dir/manifest.json`` and check it against the config.

    Raises:
        UserError: nothing is prepared there, or it was prepared for another vocabulary.
    """
    manifest = read_manifest(Path(config.data.dir))
    if manifest is None:
        raise UserError(f"data.dir={config.data.dir}: nothing is prepared there; run `danube prepare` first")
    if manifest.tokenizer.vocab_size != config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}: {manifest.path} was prepared with a vocabulary of "
            f"{manifest.tokenizer.vocab_size}; set it to that, or prepare the data again"
        )
    return manifest


def windows_of(tokens: int, seq_length: int) -> int:
    """How many sequences an epoch of a dataset of ``tokens`` has.

    As megatron-core's GPTDataset counts: a sequence shares its last label with the next one's first token, and an
    epoch's rest that fills no sequence is dropped.
    """
    return (tokens - 1) // seq_length


def epochs_needed(num_samples: int, per_epoch: int) -> int | None:
    """How often a dataset is read for ``num_samples`` sequences; None if it holds not even one."""
    return -(-num_samples // per_epoch) if per_epoch > 0 else None


def beyond_epochs(num_samples: int, per_epoch: int, max_epochs: int) -> int:
    """How many of ``num_samples`` sequences a dataset gives once more, when it was read so often."""
    return max(0, num_samples - max_epochs * per_epoch)


def may_read(num_samples: int, per_epoch: int, max_epochs: int) -> bool:
    """Whether a stage may read a dataset so far: what may be repeated, by under 1% once more.

    Documents are dealt out by their hashes, so a part has what was asked for only on average.
    """
    beyond = beyond_epochs(num_samples, per_epoch, max_epochs)
    return beyond == 0 or (max_epochs > 1 and 100 * beyond < num_samples)


def part_weights(parts: Sequence[Part], mix: Mapping[str, float] | None) -> list[Fraction]:
    """The share of a stage's sequences that each part gives; they add up to 1.

    Args:
        mix: shares by source; None: in proportion to the parts' tokens. Several parts of one source share its share.

    Raises:
        UserError: a source of the mix has no part: the others would take its share in silence.
    """
    of_source: dict[str, int] = {}
    for part in parts:
        of_source[part.source] = of_source.get(part.source, 0) + part.tokens
    if mix is None:
        return [Fraction(part.tokens, sum(of_source.values())) for part in parts]
    missing = [source for source in mix if source not in of_source]
    if missing:
        raise UserError(
            f"the mix gives {mix[missing[0]]:.2%} to {missing[0]}, of which nothing is prepared (there is "
            f"{', '.join(of_source)}); run `danube prepare` with this mix"
        )
    shares = {source: Fraction(mix.get(source, 0)) for source in of_source}
    total = sum(shares.values())
    return [shares[part.source] / total * Fraction(part.tokens, of_source[part.source]) for part in parts]


def samples_per_part(num_samples: int, weights: Sequence[Fraction]) -> list[int]:
    """How many of a stage's sequences each part gives, at most.

    megatron-core's blend takes at most one sequence more than the exact share.
    """
    if len(weights) == 1:
        return [num_samples]
    return [ceil(num_samples * weight) + 1 for weight in weights]
