"""The parts of prepared data that are distilled, and how they are read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from custom_modules.data.check_taught import data_of_rows
from custom_modules.data.index import Index, open_index
from custom_modules.data.manifest import Manifest, Part
from custom_modules.distillation.rows import DataOfRows
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from data_prep.teach.shards import Shard, cut_into_shards

DISTILLED = "distilled"


@dataclass(frozen=True)
class DistilledPart:
    """A dataset that teachers are asked about.

    Attributes:
        stage: that trains on it.
        part: its entry in the manifest.
        manifest: that has it.
    """

    stage: str
    part: Part
    manifest: Manifest

    @property
    def title(self) -> str:
        """What it is called in messages."""
        return f"{self.stage}, {self.part.source}"

    @property
    def name(self) -> str:
        """What its folder is called where it is worked on."""
        return str(self.manifest.relative(self.part)).replace("/", ".")

    @cached_property
    def index(self) -> Index:
        """Return its ``.idx``."""
        return open_index(self.part.idx)

    @cached_property
    def tokens(self) -> NDArray[Any]:
        """Return its ``.bin``, mapped into memory."""
        return np.memmap(self.part.bin, self.index.dtype, mode="r")

    def shards(self, tokens: int) -> list[Shard]:
        """Cut it into shards of about so many tokens."""
        return cut_into_shards(self.index, tokens)

    def documents(self, shard: Shard) -> list[NDArray[Any]]:
        """Read the tokens of each document of a shard."""
        bounds = self.index.boundaries(shard.first, shard.end)
        own = np.array(self.tokens[shard.token : shard.token + shard.tokens])
        return np.split(own, (bounds[1:-1] - shard.token).tolist())

    @property
    def data(self) -> DataOfRows:
        """What rows have to be of."""
        return data_of_rows(self.manifest, self.part)


def distilled_parts(manifest: Manifest) -> list[DistilledPart]:
    """Return the parts of all stages that are distilled.

    Raises:
        UserError: none is.
    """
    found = list(_distilled(manifest))
    if not found:
        raise UserError(
            f"{manifest.path}: none of the data is distilled; set distillation.every_n_batches and run `danube prepare`"
        )
    return found


def _distilled(manifest: Manifest) -> Iterator[DistilledPart]:
    for stage, split, part in manifest.datasets():
        if split == "train" and part.stream == DISTILLED:
            yield DistilledPart(stage, part, manifest)


def students_tokenizer(manifest: Manifest) -> Tokenizer:
    """Return the tokenizer that the data was encoded with.

    Raises:
        UserError: it cannot be read, or is another than the manifest says.
    """
    tokenizer = load_tokenizer(manifest.tokenizer.library, manifest.tokenizer_file)
    if tokenizer.sha256 != manifest.tokenizer_sha256:
        raise UserError(f"{tokenizer.path}: another tokenizer than {manifest.path} names; copy it again")
    return tokenizer
