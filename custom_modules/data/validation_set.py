"""The documents that a run is validated on: chosen once, by their content, and packed in one order at every length."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from custom_modules.data.index import Index, open_index, token_dtype
from custom_modules.data.manifest import Manifest, Part
from custom_modules.data.validation_limits import validation_parts
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_stream
from custom_modules.tokenizer import load_tokenizer

NAME = "validation.npz"
_NO_TARGET = 0.0
_TARGET = 1.0


@dataclass(frozen=True, eq=False)
class ValidationSet:
    """Whole documents of each source, one behind the other, each followed by the end token."""

    streams: Mapping[str, NDArray[Any]]
    """By source, [1 + tokens], of the data's dtype: an end token, as before any document in training, then the
    documents. Every token but the first is scored."""
    text_bytes: Mapping[str, int]
    """UTF-8 bytes of the documents' texts, by source."""

    @property
    def tokens(self) -> dict[str, int]:
        """Return how many tokens of each source are scored."""
        return {source: len(stream) - 1 for source, stream in self.streams.items()}


class ValidationWindows(torch.utils.data.Dataset[dict[str, torch.Tensor]]):
    """A set at one length: ``tokens`` and ``labels``, int64 ``[seq_length]``, and ``loss_mask``, float32, 1 where the
    label is scored.

    A source's last window is filled up with what is not scored, and its windows to whole micro-batches, so that every
    length scores the same tokens and a micro-batch is of one source.

    Args:
        chosen: the documents.
        seq_length: of a window.
        micro_batch_size: windows of a micro-batch.
        together: micro-batches that are evaluated at a time; as many are there, or a multiple.
    """

    fields = ("tokens", "labels", "loss_mask")

    def __init__(self, chosen: ValidationSet, seq_length: int, micro_batch_size: int, together: int = 1) -> None:
        self.chosen = chosen
        self.seq_length = seq_length
        sources = [name for name, tokens in chosen.tokens.items() if tokens]
        batches = {name: math.ceil(math.ceil(chosen.tokens[name] / seq_length) / micro_batch_size) for name in sources}
        self.sources: list[str | None] = [name for name in sources for _ in range(batches[name])]
        """The source of each micro-batch; None: nothing in it is scored."""
        self.sources += [None] * (-len(self.sources) % together)
        self._first = {name: self.sources.index(name) * micro_batch_size for name in sources}
        self._micro_batch_size = micro_batch_size

    def __len__(self) -> int:
        return len(self.sources) * self._micro_batch_size

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        source = self.sources[index // self._micro_batch_size]
        stream = next(iter(self.chosen.streams.values()))[:1] if source is None else self.chosen.streams[source]
        begin = 0 if source is None else (index - self._first[source]) * self.seq_length
        window = stream[begin : begin + self.seq_length + 1]
        whole = np.full(self.seq_length + 1, stream[0], np.int64)
        whole[: len(window)] = window
        mask = np.full(self.seq_length, _NO_TARGET, np.float32)
        mask[: max(len(window) - 1, 0)] = _TARGET
        return {
            "tokens": torch.from_numpy(whole[:-1]),
            "labels": torch.from_numpy(whole[1:]),
            "loss_mask": torch.from_numpy(mask),
        }


def choose_validation(manifest: Manifest, limits: Mapping[str, int], cache: Path) -> Path:
    """Choose documents of each source up to its limit in tokens, in the order of their contents' hashes.

    Args:
        limits: tokens by source, as `source_limits` shares them out; a run keeps those that it began with.
        cache: the run's folder for what follows from its data; nothing is written there if it was chosen before.

    Returns:
        The file, for `read_validation`.

    Raises:
        UserError: a file cannot be read or written.
    """
    parts = validation_parts(manifest)
    contents = [digest for part in parts for digest in part.sha256.values()]
    key = repr([contents, sorted(limits.items()), manifest.tokenizer_sha256])
    folder = cache / hashlib.sha256(key.encode()).hexdigest()[:24]
    if not _is_whole(folder / NAME):
        chosen = _choose(manifest, parts, limits)
        arrays: dict[str, Any] = {f"tokens/{name}": stream for name, stream in chosen.streams.items()}
        arrays |= {f"bytes/{name}": np.int64(size) for name, size in chosen.text_bytes.items()}
        with explained(folder):
            folder.mkdir(parents=True, exist_ok=True)
        with whole_stream(folder / NAME) as stream:
            np.savez(stream, **arrays)
    return folder / NAME


def read_validation(path: Path) -> ValidationSet:
    """Read what `choose_validation` wrote.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with explained(path), np.load(path, allow_pickle=False) as arrays:
            names = [name.removeprefix("tokens/") for name in arrays.files if name.startswith("tokens/")]
            streams = {name: arrays[f"tokens/{name}"] for name in names}
            return ValidationSet(streams, {name: int(arrays[f"bytes/{name}"]) for name in names})
    except (ValueError, EOFError, KeyError, BadZipFile) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{path}: damaged; start again, and it is made again") from None


def _is_whole(path: Path) -> bool:
    try:
        read_validation(path)
    except UserError:
        return False
    return True


def _choose(manifest: Manifest, parts: Sequence[Part], limits: Mapping[str, int]) -> ValidationSet:
    tokenizer = load_tokenizer(manifest.tokenizer.library, manifest.tokenizer_file)
    streams, text_bytes = {}, {}
    for source, limit in limits.items():
        documents = list(_within(limit, [part for part in parts if part.source == source]))
        end = np.array([manifest.eos_id], token_dtype(manifest.tokenizer.vocab_size))
        streams[source] = np.concatenate([end, *documents], dtype=end.dtype)
        text_bytes[source] = sum(len(tokenizer.decode(one[:-1].tolist()).encode()) for one in documents)
    return ValidationSet(streams, text_bytes)


def _within(limit: int, parts: Sequence[Part]) -> Iterator[NDArray[Any]]:
    """Documents in the order of their hashes; one that would exceed the limit is passed over, and a copy too."""
    described = [np.empty(0, _DOCUMENT)]
    opened = [_Documents(part) for part in parts]
    for number, documents in enumerate(opened):
        described.append(documents.describe(number))
    every = np.concatenate(described)
    every = every[np.lexsort((every["document"], every["part"], every["hash"]))]
    left, last = limit, None
    for entry in every:
        if entry["tokens"] <= left and entry["hash"] != last:
            left -= int(entry["tokens"])
            last = entry["hash"]
            yield opened[int(entry["part"])].read(int(entry["document"]))
        if not left:
            return


_DOCUMENT = np.dtype([("hash", "<u8"), ("part", "<u4"), ("document", "<i8"), ("tokens", "<i8")])


class _Documents:
    """The documents of a part, by their number in it."""

    def __init__(self, part: Part) -> None:
        index: Index = open_index(part.idx)
        self._starts = index.boundaries(0, index.documents)
        with explained(part.bin):
            self._tokens = np.memmap(part.bin, index.dtype, "r") if self._starts[-1] else np.empty(0, index.dtype)

    def read(self, document: int) -> NDArray[Any]:
        begin, end = self._starts[document : document + 2]
        return np.array(self._tokens[begin:end])

    def describe(self, part: int) -> NDArray[Any]:
        described = np.empty(len(self._starts) - 1, _DOCUMENT)
        described["part"] = part
        described["document"] = np.arange(len(described))
        described["tokens"] = np.diff(self._starts)
        for number, (begin, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            content = self._tokens[begin:end].astype("<i4").tobytes()
            described["hash"][number] = int.from_bytes(hashlib.blake2b(content, digest_size=8).digest(), "little")
        return described
