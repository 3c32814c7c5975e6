"""``manifest.json`` of prepared conversations or pairs, written and read. Needs neither torch nor numpy."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from custom_modules.data.layout import MANIFEST, TOKENIZER
from custom_modules.data.manifest_file import AGAIN, read_as
from custom_modules.errors import UserError
from custom_modules.files import UnreadableError, readable, sha256_of, whole_file

FORMAT: Final = 1
Kind = Literal["conversations", "pairs"]
"""What a run of SFT and one of DPO read."""
SPLITS = ("train", "validation")
DATASETS = ("tokens", "answers")
"""The indexed datasets of a split of conversations: ids, and a 1 for each that is of an answer, else a 0."""
PAIRS = "pairs.parquet"
"""The file of a split of pairs: ``prompt``, ``chosen`` and ``rejected``, each a list of messages."""


@dataclass(frozen=True)
class FileEntry:
    """A file as it was written."""

    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitEntry:
    """What is trained on, or held out."""

    samples: int
    tokens: int
    """Of all samples; of a pair those of both sides, each with the prompt."""
    answer_tokens: int
    """Those that are trained on; 0 of pairs, which are not kept as ids."""
    longest: int
    """Tokens of the longest sample, or side."""
    sources: dict[str, int]
    """Samples of each source, in the order in which they lie."""
    files: dict[str, FileEntry]
    """By the path in ``data.dir``."""


@dataclass(frozen=True)
class ChatTokenizerEntry:
    """The tokenizer with the prompt format, as ``data.dir/tokenizer`` has it."""

    sha256: str
    base_sha256: str
    vocab_size: int
    eos_id: int
    pad_id: int
    files: dict[str, FileEntry]


@dataclass(frozen=True)
class ChatManifest:
    """Prepared conversations or pairs, the tokenizer, and what became of every record of their sources."""

    path: Path
    """The manifest's own."""
    format: Literal[1]
    kind: Kind
    options: dict[str, Any]
    """What defines the data beside its files and its tokenizer."""
    tokenizer: ChatTokenizerEntry
    splits: dict[str, SplitEntry]
    sources: list[dict[str, Any]] = field(default_factory=list)
    """For each input file its place, its content and what became of its records."""
    skipped: dict[str, Any] = field(default_factory=dict)
    """How many ``records`` could not be read, and the ``first`` of them by name."""
    damaged: dict[str, Any] = field(default_factory=dict)
    """How many ``files`` could not be read, whole or in part, and all of them, ``named`` with the reason."""

    @property
    def directory(self) -> Path:
        return self.path.parent

    def files(self, taught: bool = True) -> dict[Path, int]:
        """Return the bytes of every split's files, by their path in ``data.dir``; teachers have none here."""
        return {Path(name): entry.bytes for split in self.splits.values() for name, entry in split.files.items()}

    def entries(self) -> dict[str, FileEntry]:
        """Return what is known of every file, the tokenizer's among them, by the path in ``data.dir``."""
        every = {name: entry for split in self.splits.values() for name, entry in split.files.items()}
        return every | {f"{TOKENIZER}/{name}": entry for name, entry in self.tokenizer.files.items()}

    def write(self) -> None:
        """Publish the file.

        Raises:
            UserError: it cannot be written.
        """
        content = {key: value for key, value in asdict(self).items() if key != "path"}
        whole_file(self.path, orjson.dumps(content, option=orjson.OPT_INDENT_2))

    def digest(self) -> str:
        """Identify what is trained on: a position in it means nothing in other data."""
        hashes = [entry.sha256 for _, entry in sorted(self.splits["train"].files.items())]
        return hashlib.sha256("".join([self.tokenizer.sha256, *hashes]).encode()).hexdigest()

    def faults(self, quick: bool = False) -> dict[Path, str]:
        """Say what is wrong with each file that is not as the manifest says.

        Args:
            quick: compare sizes only.
        """
        found: dict[Path, str] = {}
        for name, entry in self.entries().items():
            path = self.directory / name
            if not path.is_file():
                found[path] = f"missing; {AGAIN}"
            elif (size := path.stat().st_size) != entry.bytes:
                found[path] = f"{size} bytes, but the manifest says {entry.bytes}; {AGAIN}"
            elif not quick:
                with readable(path):
                    digest = sha256_of(path)
                if digest != entry.sha256:
                    found[path] = f"altered: its SHA-256 is {digest}, but the manifest says {entry.sha256}; {AGAIN}"
        return found

    def verify(self) -> None:
        """Compare every file with its size and hash.

        Raises:
            UserError: the first that differs.
        """
        for path, fault in self.faults().items():
            raise UserError(f"{path}: {fault}")


def read_chat_manifest(directory: Path) -> ChatManifest | None:
    """Read the manifest of a folder, held against no config; None if it has none, or one of a pre-training's data.

    Raises:
        UserError: one that cannot be understood; names what in it.
        UnreadableError: the system refuses to read it.
    """
    return read_as(
        ChatManifest,
        directory / MANIFEST,
        "conversations or pairs",
        lambda plain: isinstance(plain, dict) and "stages" in plain and "kind" not in plain,
    )


def find_chat_manifest(directory: Path) -> ChatManifest | None:
    """Return the manifest of a folder; None where there is none that can be understood.

    Raises:
        UnreadableError: the system refuses to read it, so that nobody knows what is prepared there.
    """
    try:
        return read_chat_manifest(directory)
    except UnreadableError:
        raise
    except UserError:
        return None


def load_chat_manifest(directory: str, kind: Kind, length: int) -> ChatManifest:
    """Read ``data.dir/manifest.json`` for a run.

    Args:
        directory: ``data.dir``.
        kind: what the run reads.
        length: its ``model.encoder_seq_length``.

    Raises:
        UserError: nothing is prepared there, or something else, or samples are longer.
    """
    manifest = read_chat_manifest(Path(directory))
    if manifest is None:
        there = "other data" if (Path(directory) / MANIFEST).is_file() else "nothing"
        raise UserError(
            f"data.dir={directory}: {there} is prepared there, no {kind}; run `danube prepare` with this config"
        )
    if manifest.kind != kind:
        raise UserError(f"data.dir={directory}: holds {manifest.kind}, and this run reads {kind}; use another data.dir")
    prepared = manifest.options.get("encoder_seq_length")
    if prepared != length:
        raise UserError(
            f"model.encoder_seq_length={length}: the samples in data.dir={directory} are cut to {prepared}; {AGAIN}, "
            f"or set it to {prepared}"
        )
    return manifest
