"""What a run of SFT or DPO asks `danube prepare` for, whatever its kind."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.sft import SftConfig
from custom_modules.data import layout
from custom_modules.data.chat_manifest import DATASETS, PAIRS, SPLITS, Kind
from custom_modules.errors import UserError
from data_prep.conversations.choice import Drawing
from data_prep.conversations.sources import GivenSource, Source, identity_of
from data_prep.input.hub import is_hub_address
from data_prep.work.damaged_files import OnDamagedFile
from data_prep.work.shard import OnError

_FORMAT = 1


@dataclass(frozen=True)
class Request:
    """All of a config that prepared conversations or pairs depend on."""

    name: str
    kind: Kind
    directory: Path
    sources: tuple[GivenSource, ...]
    length: int
    """Tokens of a sample, or of a prompt with one of its answers, at most."""
    seed: int
    validation_fraction: float
    on_error: OnError
    on_damaged_file: OnDamagedFile
    shard_bytes: int
    workers: int | None

    @classmethod
    def of(cls, config: SftConfig | DpoConfig) -> Request:
        """Return that of a config.

        Raises:
            UserError: it names no source, or one without a path.
        """
        data = config.data
        if not data.sources:
            raise UserError("data.sources={}: nothing to prepare; name a source, as data.sources.mine.path=FILE")
        if missing := [f"data.sources.{name}.path=FILE" for name, source in data.sources.items() if not source.path]:
            raise UserError(
                f"{missing[0].partition('=')[0]}=null: give a file, a folder or hf://datasets/ORG/NAME for each "
                f"source: {' '.join(missing)} (or null in place of a source to leave it out)"
            )
        given = tuple(
            GivenSource(name, str(one.path), one.format, one.max_samples, one.system, one.ends_only)
            for name, one in data.sources.items()
        )
        return cls(
            name=config.name,
            kind="conversations" if isinstance(config, SftConfig) else "pairs",
            directory=Path(data.dir),
            sources=given,
            length=config.model.encoder_seq_length,
            seed=data.seed,
            validation_fraction=data.validation_fraction,
            on_error=data.on_error,
            on_damaged_file=data.on_damaged_file,
            shard_bytes=data.shard_bytes,
            workers=data.workers,
        )

    @property
    def drawing(self) -> Drawing:
        """What defines which samples are trained on."""
        names = tuple(source.name for source in self.sources)
        limits = tuple(source.max_samples for source in self.sources)
        return Drawing(self.seed, self.validation_fraction, names, limits)

    def options(self, sources: Sequence[Source]) -> dict[str, Any]:
        """Return what defines the data beside the input files and the tokenizer."""
        return {
            "format": _FORMAT,
            "encoder_seq_length": self.length,
            "seed": self.seed,
            "validation_fraction": self.validation_fraction,
            "on_error": self.on_error,
            "sources": [dict(one) for one in identity_of(sources)],
        }

    def targets(self) -> list[Path]:
        """Return the files that are published, but for the tokenizer and what was removed."""
        names = [f"{name}.{end}" for name in DATASETS for end in ("bin", "idx")]
        files = names if self.kind == "conversations" else [PAIRS]
        return [
            *map(Path, (layout.MANIFEST, *layout.CARD)),
            *(Path(split) / file for split in SPLITS for file in files),
        ]

    def check_inputs(self, tokenizer: str | None) -> None:
        """Make sure that nothing that is to be read lies where is written.

        Args:
            tokenizer: ``model.tokenizer.model``.

        Raises:
            UserError: naming the key.
        """
        given: Mapping[str, str | None] = {
            **{f"{source.key}.path": source.path for source in self.sources},
            "model.tokenizer.model": tokenizer,
        }
        places = [self.directory / name for name in (*layout.FOLDERS, *SPLITS)]
        for key, path in given.items():
            if path is None or is_hub_address(path):
                continue
            real = Path(os.path.realpath(path))
            for place in places:
                if real.is_relative_to(os.path.realpath(place)):
                    raise UserError(f"{key}={path}: lies in {place}, where is written; use another data.dir")
