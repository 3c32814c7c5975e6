"""``data_card.md`` and ``data_card.html``: what a dataset is made of, what was taken out of it and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.index import open_index
from custom_modules.data.layout import CARD, REMOVED
from custom_modules.data.manifest import Manifest, Part, part_weights
from custom_modules.files import whole_files
from custom_modules.plan.prepared import read_prepared
from custom_modules.report.shares import stage_shares
from data_prep.across.order import Mapped, kth_smallest
from data_prep.output.card_format import Table, html, markdown
from data_prep.output.recipe_rows import share_bars, share_rows, step_rows
from data_prep.output.removed import read_removed
from data_prep.output.scores import PERCENTILES, percentiles
from data_prep.output.teachers import teachers_tables
from data_prep.work.shard import add_up

_SAMPLES = 3
_SAMPLE_CHARACTERS = 300
_LOOKED_AT = 20_000
_LENGTHS_AT_ONCE = 1 << 20


def write_card(config: Config, manifest: Manifest) -> None:
    """Publish both files in ``data.dir``.

    Raises:
        UserError: a file cannot be written.
    """
    directory = manifest.path.parent
    tables = [
        *_damaged(manifest),
        _sources(manifest),
        _steps(config),
        _removals(manifest),
        *_benchmarks(manifest),
        *teachers_tables(manifest),
        *_scores(manifest),
        *_shares(config),
        _stages(config, manifest),
        *(_lengths(name, manifest.parts(name, "train")) for name in manifest.stages),
        *_samples(directory / REMOVED),
    ]
    title = f"Data of {config.name}"
    whole_files(
        {
            directory / CARD[0]: markdown(title, tables).encode(),
            directory / CARD[1]: html(title, tables).encode(),
        }
    )


def has_card(directory: Path) -> bool:
    return all((directory / name).is_file() for name in CARD)


def _damaged(manifest: Manifest) -> Iterator[Table]:
    if number := manifest.damaged.get("files", 0):
        text = f"{number:,} could not be read, whole or in part; what could be read is kept."
        yield Table("Damaged files", text, [("file",), *((name,) for name in manifest.damaged["named"])])


def _sources(manifest: Manifest) -> Table:
    tokens = Counter[str]()
    for splits in manifest.stages.values():
        for part in chain.from_iterable(splits.values()):
            tokens[part.source] += part.tokens
    header = ("source", "files", "MB", "records read", "kept", "removed", "rejected", "tokens kept", "tokens removed")
    rows: list[tuple[str, ...]] = [header]
    for name, files in _by_source(manifest).items():
        size = sum(file["bytes"] for file in files) / 1e6
        read, kept, rejected = (sum(file[key] for file in files) for key in ("read", "documents", "skipped"))
        removed, lost = (sum(_count(file[key]) for file in files) for key in ("removed", "removed_tokens"))
        counts = (read, kept, removed, rejected, tokens[name], lost)
        rows.append((name, f"{len(files):,}", f"{size:,.1f}", *(f"{number:,}" for number in counts)))
    text = "Every record that was read is kept, removed by a step, or rejected as unreadable."
    if manifest.shared_texts:
        text += (
            f" {manifest.shared_texts:,} texts are in several sources; in all of them they are in the stage and split "
            "in which the first of them has them."
        )
    return Table("Sources", text, rows)


def _by_source(manifest: Manifest) -> dict[str, list[dict[str, Any]]]:
    files: dict[str, list[dict[str, Any]]] = {}
    for file in manifest.sources:
        files.setdefault(file["name"], []).append(file)
    return files


def _count(removed: Mapping[str, Mapping[str, int]]) -> int:
    return sum(sum(reasons.values()) for reasons in removed.values())


def _steps(config: Config) -> Table:
    text = (
        "In the order they run. Defaults, and where they are from, are in `danube prepare --help-steps`; manifest.json "
        "has all values."
    )
    return Table("Steps", text, step_rows(config))


def _removals(manifest: Manifest) -> Table:
    rows = [("step", "reason", "source", "documents", "of all read", "tokens")]
    sources = [
        (name, sum(file["read"] for file in files), add_up(file["removed"] for file in files), files)
        for name, files in _by_source(manifest).items()
    ]
    for step, reasons in manifest.removed.items():
        for reason in sorted(reasons, key=lambda reason: -reasons[reason]):
            for name, read, removed, files in sources:
                if number := removed.get(step, {}).get(reason, 0):
                    tokens = sum(file["removed_tokens"].get(step, {}).get(reason, 0) for file in files)
                    rows.append((step, reason, name, f"{number:,}", f"{number / read:.2%}", f"{tokens:,}"))
    text = f"They are kept in {REMOVED}/, with source, line and reason. A share is of the source's records."
    return Table("Removed documents", text, rows) if len(rows) > 1 else Table("Removed documents", "Nothing.", [])


def _benchmarks(manifest: Manifest) -> Iterator[Table]:
    rows = [
        tuple(f"{value:,}" if isinstance(value, int) else str(value) for value in benchmark.values())
        for benchmark in manifest.benchmarks
    ]
    if rows:
        header = tuple(name.replace("_", " ") for name in manifest.benchmarks[0])
        yield Table("Benchmarks", "What was found of each, prompts and reference answers alike.", [header, *rows])


def _scores(manifest: Manifest) -> Iterator[Table]:
    every = (part for splits in manifest.stages.values() for parts in splits.values() for part in parts)
    rows = [(model, source, *(f"{value:.4f}" for value in values)) for model, source, values in percentiles(every)]
    if rows:
        text = "Percentiles of the documents' scores; the score of each is beside its dataset."
        header = ("model", "source", *(f"{number}%" for number in PERCENTILES))
        yield Table("Quality scores of what was kept", text, [header, *rows])


def _shares(config: Config) -> Iterator[Table]:
    """Figure 2 of Danube's paper, where there are several sources."""
    stages = stage_shares(config, read_prepared(config, Curriculum.from_config(config)))
    if stages:
        text = (
            "Planned is what a stage's mix trains, or else the proportion of the tokens; prepared is what there is to "
            "train on. A source whose plan is above that is read more often than others."
        )
        yield Table("Shares of the sources", text, share_rows(stages), share_bars(stages))


def _stages(config: Config, manifest: Manifest) -> Table:
    rows = [("stage", "source", "split", "documents", "tokens", "share", "share in training", "in the paper")]
    for stage, splits in manifest.stages.items():
        reported = config.curriculum.stages[stage].reported_mix
        for split, parts in splits.items():
            total = sum(part.tokens for part in parts)
            weights = part_weights(parts, config.curriculum.stages[stage].mix) if split == "train" else []
            for number, part in enumerate(parts):
                trained = f"{float(weights[number]):.1%}" if weights else ""
                share = f"{reported[part.source]:.1%}" if trained and part.source in reported else ""
                counts = (f"{part.documents:,}", f"{part.tokens:,}", f"{part.tokens / total:.1%}", trained, share)
                rows.append((stage, part.source, split, *counts))
    return Table("Stages", "Training draws sequences by the stage's mix, or else in proportion to the tokens.", rows)


def _lengths(stage: str, parts: Sequence[Part]) -> Table:
    places = [(part.idx, begin) for part in parts for begin in range(0, part.documents, _LENGTHS_AT_ONCE)]
    lengths, count = Mapped(places, _some_lengths), sum(part.documents for part in parts)
    bins = sum(np.bincount(np.floor(np.log2(np.maximum(some, 1))).astype(np.int64), minlength=32) for some in lengths)
    rows = [("tokens", "documents", "")]
    for power, number in enumerate(np.asarray(bins).tolist()):
        if number:
            bar = "█" * max(1, round(40 * number / np.max(bins)))
            rows.append((f"{2**power:,} to {2 ** (power + 1) - 1:,}", f"{number:,}", bar))
    mean = sum(int(some.sum(dtype=np.int64)) for some in lengths) / count
    median = (int(kth_smallest(lengths, (count - 1) // 2)) + int(kth_smallest(lengths, count // 2))) / 2
    text = f"Mean {mean:,.0f}, median {median:,.0f}, longest {max(int(some.max()) for some in lengths):,} tokens."
    return Table(f"Lengths of {stage}'s documents", text, rows)


def _some_lengths(place: tuple[Path, int]) -> NDArray[np.uint32]:
    path, begin = place
    return open_index(path).lengths[begin : begin + _LENGTHS_AT_ONCE].astype(np.uint32)


def _samples(folder: Path) -> Iterator[Table]:
    """A few removed documents for each step and reason, from the first that were removed."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for document in islice(read_removed(folder), _LOOKED_AT):
        some = found.setdefault((document["step"], document["reason"]), [])
        if len(some) < _SAMPLES:
            text = " ".join(document["text"][: 2 * _SAMPLE_CHARACTERS].split())[:_SAMPLE_CHARACTERS]
            some.append((text, document["detail"]))
    for (step, reason), some in sorted(found.items()):
        yield Table(f"Removed by {step}: {reason}", "", [("text", "detail"), *some])
