"""Rank 0 of a world of any size: over torch's fake process group, whose other ranks answer nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import torch
from torch.testing._internal.distributed.fake_pg import FakeStore

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.batches import Batch
from custom_modules.data.documents import Documents
from custom_modules.platform import Platform
from custom_modules.platform.world import LOOPBACK, World


@contextmanager
def rank_0(config: Config) -> Iterator[Platform]:
    """megatron-core's groups, and this process's GPU, as in the first process of a run."""
    size = config.trainer.world_size
    world = World(rank=0, size=size, local_rank=0, master_addr=LOOPBACK, master_port=0, source="fake")
    new_group = torch.distributed.new_group

    @contextmanager
    def connected(platform: Platform, *_: Any, **__: Any) -> Iterator[None]:
        torch.cuda.set_device(platform.device)
        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=size)
        try:
            yield
        finally:
            torch.distributed.destroy_process_group()

    def fake_group(*arguments: Any, **options: Any) -> Any:
        return new_group(*arguments, **{**options, "backend": None})

    with (
        mock.patch.object(Platform, "connected", connected),
        mock.patch.object(torch.distributed, "new_group", fake_group),
    ):
        platform = Platform.detect(config, world)
        with platform.running(config):
            yield platform


DOCUMENT = 400
"""Tokens of a document, its end among them, where documents matter."""


def same_batches(stage: Stage, documents: Documents | None = None) -> Iterator[Batch]:
    """Yield micro-batches of one token, or of documents of `DOCUMENT` tokens, as long as a window is longer.

    Args:
        documents: gives them what follows from their documents.
    """
    tokens = torch.zeros(stage.micro_batch_size, stage.seq_length, dtype=torch.int64)
    positions = torch.arange(stage.seq_length).expand(stage.micro_batch_size, -1)
    batch = {"tokens": tokens, "labels": tokens, "position_ids": positions}
    if documents:
        tokens.fill_(documents.eos_id + 1)[:, DOCUMENT - 1 :: DOCUMENT] = documents.eos_id
        batch = documents.add_to(batch)
    while True:
        yield batch
