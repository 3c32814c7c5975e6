"""What `danube prepare` left in ``data.dir``: its manifest, and cheap checks that the files still are what it says.

Needs no torch: the plan reads it too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np

from custom_modules.config.schema import Config
from custom_modules.errors import UserError

FORMAT = 1
MANIFEST = "manifest.json"
SCORES = "scores.parquet"
"""The suffix of the file that has the scores of a dataset's documents, where quality models were at work."""
INDEX_HEADER = b"MMIDIDX\x00\x00"
Split = Literal["train", "validation"]

_DTYPES: dict[int, np.dtype[Any]] = {4: np.dtype("int32"), 8: np.dtype("uint16")}
"""megatron-core's dtype codes, as far as `danube prepare` writes them."""


@dataclass(frozen=True)
class Part:
    """One Megatron indexed dataset: ``prefix.bin`` and ``prefix.idx``, and maybe scores."""

    prefix: Path
    source: str
    documents: int
    tokens: int
    dtype: str
    bytes: dict[str, int]
    """Of each file, by its suffix."""
    sha256: dict[str, str]

    @property
    def bin(self) -> Path:
        return self.prefix.with_name(self.prefix.name + ".bin")

    @property
    def idx(self) -> Path:
        return self.prefix.with_name(self.prefix.name + ".idx")

    @property
    def scores(self) -> Path | None:
        """The file of its documents' scores, if there is one: see `custom_modules.data.scores`."""
        return self.prefix.with_name(f"{self.prefix.name}.{SCORES}") if SCORES in self.bytes else None


@dataclass(frozen=True)
class Manifest:
    """The prepared data of every stage, and the tokenizer it was encoded with."""

    path: Path
    stages: dict[str, dict[str, list[Part]]]
    tokenizer: dict[str, Any]

    @property
    def tokenizer_file(self) -> Path:
        return self.path.parent / self.tokenizer["file"]

    @property
    def tokenizer_sha256(self) -> str:
        return str(self.tokenizer["sha256"])

    @property
    def eos_id(self) -> int:
        return int(self.tokenizer["eos_id"])

    def parts(self, stage: str, split: Split) -> list[Part]:
        """Raises UserError if the stage was not prepared."""
        parts = self.stages.get(stage, {}).get(split, [])
        if not parts:
            raise UserError(f"{self.path}: no {split} data for {stage}; run `danube prepare` with this config")
        return parts

    def digest(self, stage: str) -> str:
        """Identifies a stage's training data: a position in it means nothing in other data."""
        hashes = [part.sha256[kind] for part in self.parts(stage, "train") for kind in ("bin", "idx")]
        return hashlib.sha256("".join(hashes).encode()).hexdigest()


def load_manifest(config: Config) -> Manifest:
    """Read ``data.dir/manifest.json`` and check it against the config.

    Raises:
        UserError: nothing is prepared there, or it was prepared for another vocabulary.
    """
    path = Path(config.data.dir) / MANIFEST
    try:
        raw = json.loads(path.read_text())
        stages = {
            stage: {split: [_part(path.parent, part) for part in parts] for split, parts in splits.items()}
            for stage, splits in raw["stages"].items()
        }
        manifest = Manifest(path, stages, raw["tokenizer"])
        version, vocab_size = raw["format"], int(raw["tokenizer"]["vocab_size"])
    except FileNotFoundError:
        raise UserError(f"data.dir={config.data.dir}: nothing is prepared there; run `danube prepare` first") from None
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{path}: not a manifest of prepared data ({error!r}); run `danube prepare` again") from None
    if version != FORMAT:
        raise UserError(f"{path}: format {version}, but this program reads {FORMAT}; run `danube prepare` again")
    if vocab_size != config.model.vocab_size:
        raise UserError(
            f"model.vocab_size={config.model.vocab_size}: {path} was prepared with a vocabulary of {vocab_size}; "
            "set it to that, or prepare the data again"
        )
    return manifest


def _part(root: Path, raw: dict[str, Any]) -> Part:
    return Part(**{**raw, "prefix": root / raw["prefix"]})


def epochs_needed(num_samples: int, tokens: int, seq_length: int) -> int | None:
    """How often a dataset of ``tokens`` is read for ``num_samples`` sequences; None if it holds not even one.

    As megatron-core's GPTDataset counts: a sequence shares its last label with the next one's first token, and an
    epoch's rest that fills no sequence is dropped.
    """
    per_epoch = (tokens - 1) // seq_length
    return -(-num_samples // per_epoch) if per_epoch > 0 else None


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


def verify_part(part: Part, vocab_size: int, eos_id: int, sampled_documents: int = 64) -> None:
    """What megatron-core does not notice when it reads: truncation, foreign pointers, wrong dtype, wrong ids.

    Sizes and the whole index are checked; ids and document ends in a sample, since batches are checked as they are
    read.

    Raises:
        UserError: one line that names the file.
    """
    again = "run `danube prepare` again"
    for kind, file in (("bin", part.bin), ("idx", part.idx)):
        if not file.is_file():
            raise UserError(f"{file}: missing; {again}")
        size = file.stat().st_size
        if size != part.bytes[kind]:
            raise UserError(f"{file}: {size} bytes, but the manifest says {part.bytes[kind]}; it was cut; {again}")
    lengths, pointers, dtype = _read_index(part.idx)
    if dtype.name != part.dtype:
        raise UserError(f"{part.idx}: dtype {dtype.name}, but the manifest says {part.dtype}; {again}")
    expected = np.concatenate([[0], np.cumsum(lengths[:-1], dtype=np.int64)]) * dtype.itemsize
    if (lengths <= 0).any() or not np.array_equal(pointers, expected):
        raise UserError(f"{part.idx}: its pointers do not describe {part.bin.name}; {again}")
    end = int(lengths.sum(dtype=np.int64)) * dtype.itemsize
    if end != part.bytes["bin"]:
        raise UserError(f"{part.idx}: points to byte {end} of {part.bin.name}, which has {part.bytes['bin']}; {again}")
    tokens = np.memmap(part.bin, dtype=dtype, mode="r")
    for document in np.unique(np.linspace(0, len(lengths) - 1, sampled_documents, dtype=np.int64)):
        start = int(pointers[document]) // dtype.itemsize
        ids = tokens[start : start + int(lengths[document])]
        if int(ids.max()) >= vocab_size:
            raise UserError(
                f"{part.bin}: document {document} has token id {ids.max()}, "
                f"beyond model.vocab_size={vocab_size}; {again}"
            )
        if int(ids[-1]) != eos_id:
            raise UserError(f"{part.bin}: document {document} does not end in the end token {eos_id}; {again}")


def document_lengths(idx: Path) -> np.ndarray:
    """Tokens of every document of an indexed dataset, its end token included; int32 [documents]."""
    return _read_index(idx)[0]


def _read_index(path: Path) -> tuple[np.ndarray, np.ndarray, np.dtype[Any]]:
    """Sequence lengths (int32), byte pointers (int64) and the token dtype of an ``.idx`` file."""
    header = len(INDEX_HEADER)
    with path.open("rb") as stream:
        start = stream.read(header + 25)
    if len(start) < header + 25 or start[:header] != INDEX_HEADER:
        raise UserError(f"{path}: not a Megatron index; run `danube prepare` again")
    code = start[header + 8]
    count, documents = np.frombuffer(start, dtype="<u8", count=2, offset=header + 9)
    if code not in _DTYPES:
        raise UserError(f"{path}: dtype code {code}, none that `danube prepare` writes; run it again")
    expected = header + 25 + int(count) * 12 + int(documents) * 8
    if path.stat().st_size != expected or count == 0:
        raise UserError(f"{path}: {path.stat().st_size} bytes for {count} documents; run `danube prepare` again")
    lengths = np.fromfile(path, dtype="<i4", count=int(count), offset=header + 25)
    pointers = np.fromfile(path, dtype="<i8", count=int(count), offset=header + 25 + int(count) * 4)
    return lengths, pointers, _DTYPES[code]
