"""A stage's prepared data as megatron-core's GPTDataset and BlendedDataset, epoch by epoch."""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate, chain
from pathlib import Path
from typing import Any

import megatron.core
import numpy as np
import torch
from megatron.core.datasets.blended_dataset import BlendedDataset
from megatron.core.datasets.gpt_dataset import GPTDataset, GPTDatasetConfig
from megatron.core.datasets.indexed_dataset import IndexedDataset
from megatron.core.datasets.utils import Split

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.config.streams import StageStreams, Stream
from custom_modules.data.blends import Blend, Wanted, blends_of, streams_of
from custom_modules.data.index_files import publish_index_files
from custom_modules.data.manifest import (
    Manifest,
    Part,
    beyond_epochs,
    epochs_needed,
    may_read,
)
from custom_modules.data.reordering import Cut, Order, PartCuts, open_order, places_in_parts, publish_orders
from custom_modules.data.taught import PLAIN_FIELDS, TaughtWindows, distilled_fields
from custom_modules.data.taught_documents import TaughtDocuments
from custom_modules.data.teachers import Said, open_said
from custom_modules.data.validation_limits import window_parts
from custom_modules.errors import UserError
from custom_modules.platform.rank_0 import on_rank_0, own_share
from custom_modules.text import as_yaml

Dataset = torch.utils.data.Dataset
Sample = dict[str, Any]


class _EndOfDocument:
    """All that GPTDataset asks of a tokenizer here; `eod` only matters for options that we leave off."""

    def __init__(self, eos_id: int, vocab_size: int) -> None:
        self.eod = eos_id
        self.vocab_size = vocab_size
        self.unique_identifiers = {"eod": eos_id, "vocab_size": vocab_size}


class Epochs(Dataset):
    """Whole epochs of one dataset in a row, each shuffled with its own seed.

    GPTDataset by itself shuffles all its epochs together, so a document can come twice before another comes once.
    """

    def __init__(self, epochs: Sequence[Any]) -> None:
        self.epochs = epochs
        self.starts = [0, *accumulate(len(epoch) for epoch in epochs)]
        self.index_split = epochs[0].index_split
        self.unique_identifiers = {"epochs": [epoch.unique_identifiers for epoch in epochs]}
        self.order: Order | None = None
        """The places to read from instead, ``[len(self)]``: see `custom_modules.data.reordering`."""

    def __len__(self) -> int:
        return self.starts[-1]

    def __getitem__(self, index: int) -> Sample:
        if self.order is not None:
            index = int(self.order[index])
        epoch = bisect_right(self.starts, index) - 1
        return self.epochs[epoch][index - self.starts[epoch]]


class Streams(Dataset):
    """A stage whose steps read one of two datasets each: a sample's place in its own follows from the stage's steps."""

    def __init__(
        self, streams: StageStreams, datasets: Mapping[Stream, Dataset], fields: Mapping[Stream, tuple[str, ...]]
    ) -> None:
        self.streams = streams
        self.datasets = datasets
        self.fields = fields

    def __len__(self) -> int:
        return self.streams.stage.num_samples

    def __getitem__(self, index: int) -> Sample:
        stream, place = self.streams.place(index)
        return self.datasets[stream][place]

    def fields_at(self, index: int) -> tuple[str, ...]:
        """Return what is read of an item, as of all of its step."""
        stream, _ = self.streams.place(index)
        return self.fields[stream]


def _blends(config: Config, manifest: Manifest, stage: Stage) -> list[Blend]:
    """Return what a stage reads. Only counts are read."""
    try:
        return blends_of(config, stage, manifest.parts(stage.name, "train"))
    except UserError as error:
        raise UserError(f"{manifest.path}: {stage.name}: {error}") from None


def short_parts(config: Config, manifest: Manifest, stage: Stage) -> Iterator[str]:
    """Yield a line for each part that a stage reads a little more often than ``data.max_epochs``."""
    blends = _blends(config, manifest, stage)
    for part, wanted, per_epoch in chain.from_iterable(blend.wanted() for blend in blends):
        often = config.data.max_epochs_of(part.source)
        beyond = beyond_epochs(wanted, per_epoch, often)
        if beyond:
            yield (
                f"{stage.name}: {part.bin} is short by {beyond:,} of {wanted:,} sequences ({beyond / wanted:.2%}), "
                f"which are read once more than data.max_epochs={often} says"
            )


def training_dataset(
    config: Config, manifest: Manifest, stage: Stage, cache: Path, cuts: Sequence[Cut] = ()
) -> Dataset:
    """The sequences of a stage, in the order they are trained: item i is the stage's sample i.

    Several parts are blended by the stage's mix, or else in proportion to their tokens; with teachers those of each
    stream among themselves.

    Args:
        cache: folder for megatron-core's index files; rank 0 writes, all ranks read.
        cuts: the samples of the stage from which on it is read in another order.

    Raises:
        UserError: a part is too short for one sequence or would be read more often than ``data.max_epochs``, or the
            mix or a stream needs what is not prepared.
    """
    streams = streams_of(config, stage)

    def cuts_in(stream: Stream | None) -> list[Cut]:
        """Return the cuts in samples of a stream; several streams have orders of their own."""
        if stream is None or streams is None:
            return list(cuts)
        return [Cut(streams.read_before(cut.place)[stream], cut.seed) for cut in cuts]

    datasets = {
        blend.stream: _blended(config, manifest, stage, blend, cache, cuts_in(blend.stream))
        for blend in _blends(config, manifest, stage)
    }
    if streams is None or config.distillation is None:
        return datasets[None]
    of_stream = {stream: dataset for stream, dataset in datasets.items() if stream}
    return Streams(streams, of_stream, {"plain": PLAIN_FIELDS, "distilled": distilled_fields(config.distillation)})


def _blended(
    config: Config, manifest: Manifest, stage: Stage, blend: Blend, cache: Path, cuts: Sequence[Cut]
) -> Dataset:
    parts, weights = list(blend.parts), list(blend.weights)
    epochs = [_allowed_epochs(config, stage, blend, wanted) for wanted in blend.wanted()]

    said = [_said_beside(config, manifest, part) if blend.stream == "distilled" else None for part in parts]

    def epoch_of(number: int, epoch: int, folder: Path) -> Dataset:
        part, of_teachers = parts[number], said[number]
        if of_teachers is None or config.distillation is None:
            return _gpt_dataset(config, manifest, part, stage.seq_length, Split.train, epoch, folder)
        if blend.whole_documents:
            documents, prefix_tokens = IndexedDataset(str(part.prefix)), config.distillation.prefix_tokens
            seed = config.model.seed + epoch
            return TaughtDocuments(documents, of_teachers, stage.seq_length, prefix_tokens, manifest.eos_id, seed)
        windows = _gpt_dataset(config, manifest, part, stage.seq_length, Split.train, epoch, folder)
        return TaughtWindows(windows, of_teachers.rows)

    def build(folder: Path) -> Dataset:
        datasets = [Epochs([epoch_of(number, epoch, folder) for epoch in range(n)]) for number, n in enumerate(epochs)]
        if len(datasets) == 1:
            return datasets[0]
        blend_config = _dataset_config(config, manifest, parts[0], stage.seq_length, 0, folder)
        return BlendedDataset(datasets, [float(weight) for weight in weights], blend.num_samples, blend_config)

    options = ("train", stage.seq_length, config.model.seed, epochs, blend.num_samples, weights)
    of_documents = ("documents",) if blend.whole_documents else ()
    if blend.whole_documents and len(parts) == 1:
        dataset = build(cache)  # nothing of it is in an index file
    else:
        dataset = _with_cache(build, cache, manifest, parts, *options, *of_documents)
    if cuts:
        _reorder(dataset, cuts, cache)
    return dataset


def _reorder(dataset: Any, cuts: Sequence[Cut], cache: Path) -> None:
    """Have the parts of a blend read what lies behind the cuts in another order. Collective.

    Args:
        dataset: `Epochs`, or a blend of them.
        cuts: in samples of the dataset.
    """
    parts: list[Epochs] = [dataset] if isinstance(dataset, Epochs) else dataset.datasets

    def publish() -> Path:
        places = [
            [cut.place] if dataset is parts[0] else places_in_parts(dataset.dataset_index, len(parts), cut.place)
            for cut in cuts
        ]
        own = [
            PartCuts(tuple(part.starts), tuple(Cut(at[n], cut.seed) for at, cut in zip(places, cuts, strict=True)))
            for n, part in enumerate(parts)
        ]
        return publish_orders(cache, own)

    folder = on_rank_0(publish)
    with own_share():
        for number, part in enumerate(parts):
            part.order = open_order(folder, number)


def validation_dataset(config: Config, manifest: Manifest, stage: Stage, cache: Path) -> Dataset:
    """All stages' validation documents at this stage's length, so that the curve means the same text throughout."""
    parts = window_parts(manifest, stage)

    def build(folder: Path) -> Dataset:
        datasets = [_gpt_dataset(config, manifest, part, stage.seq_length, Split.valid, 0, folder) for part in parts]
        if len(datasets) == 1:
            return datasets[0]
        blend_config = _dataset_config(config, manifest, parts[0], stage.seq_length, 0, folder)
        return BlendedDataset(datasets, [len(dataset) for dataset in datasets], None, blend_config)

    return _with_cache(build, cache, manifest, parts, "validation", stage.seq_length, config.model.seed)


def _said_beside(config: Config, manifest: Manifest, part: Part) -> Said | None:
    return open_said(config.distillation, manifest, part) if config.distillation else None


def _allowed_epochs(config: Config, stage: Stage, blend: Blend, wanted: Wanted) -> int:
    part, num_samples, per_epoch = wanted
    needed = epochs_needed(num_samples, per_epoch)
    if needed is None:
        raise UserError(
            f"{part.bin}: {part.tokens} tokens do not fill a sequence of {stage.seq_length}; prepare more text"
        )
    data = config.data
    if not may_read(num_samples, per_epoch, data.max_epochs_of(part.source)):
        trained, there = f"{stage.trained_tokens} tokens", str(part.tokens)
        if blend.whole_documents:
            trained, there = f"{num_samples} distilled documents", str(part.documents)
        elif blend.stream:
            trained = f"{blend.num_samples * stage.seq_length} {blend.stream} tokens"
        raise UserError(
            f"data.max_epochs={as_yaml(data.max_epochs)}: {stage.name} trains {trained}, but {part.bin} has {there}; "
            f"{data.more_epochs({part.source: needed})} to repeat them, or prepare more text"
        )
    return needed


def _dataset_config(
    config: Config, manifest: Manifest, part: Part, seq_length: int, epoch: int, folder: Path
) -> GPTDatasetConfig:
    return GPTDatasetConfig(
        random_seed=config.model.seed + epoch,
        sequence_length=seq_length,
        blend=([str(part.prefix)], None),
        split="1,0,0",
        path_to_cache=str(folder),
        tokenizer=_EndOfDocument(manifest.eos_id, config.model.vocab_size),
        reset_position_ids=False,
        reset_attention_mask=False,
        eod_mask_loss=False,
        create_attention_mask=False,
    )


def _gpt_dataset(
    config: Config, manifest: Manifest, part: Part, seq_length: int, split: Split, epoch: int, folder: Path
) -> GPTDataset:
    indexed = IndexedDataset(str(part.prefix))
    return GPTDataset(
        indexed_dataset=indexed,
        dataset_path=str(manifest.relative(part)),  # part of the index files' names
        indexed_indices=np.arange(len(indexed), dtype=np.int32),
        num_samples=None,
        index_split=split,
        config=_dataset_config(config, manifest, part, seq_length, epoch, folder),
    )


def _with_cache(
    build: Callable[[Path], Dataset], cache: Path, manifest: Manifest, parts: Sequence[Part], *options: object
) -> Dataset:
    """Rank 0 sees to the index files before another opens them, in a folder whose name says what they are built from.

    megatron-core's names say little of that: it would read a stale index over new data. Where it misses a file rank 0
    writes, and the others read what is half written.
    """
    contents = [(str(manifest.relative(part)), digest) for part in parts for digest in part.sha256.values()]
    made_of = [contents, manifest.eos_id, manifest.tokenizer.vocab_size, megatron.core.__version__, *options]
    folder = cache / hashlib.sha256(repr(made_of).encode()).hexdigest()[:24]
    opened: list[Dataset] = []

    def open_first() -> None:
        publish_index_files(folder, build)
        opened.append(build(folder))

    on_rank_0(open_first)
    if not opened:
        with own_share():
            opened.append(build(folder))
    return opened[0]
