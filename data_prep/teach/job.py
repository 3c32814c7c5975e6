"""Work on the distilled parts, dealt out by shards to processes that never talk to each other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from custom_modules.errors import UserError
from custom_modules.folder_lock import folder_lock
from custom_modules.text import say
from data_prep.teach.parts import DistilledPart
from data_prep.teach.shards import Shard
from data_prep.teach.work import Work

Between = Callable[[], None]
"""Called between two pieces of work; raises what should end it."""


class Job(Protocol):
    """What a teacher does with each part."""

    @property
    def name(self) -> str:
        """The teacher's, in ``distillation.teachers``."""
        ...

    @property
    def shard_tokens(self) -> int:
        """What a shard has about so many of."""
        ...

    def is_up_to_date(self, part: DistilledPart) -> bool:
        """Tell whether a part has what this job makes."""
        ...

    def open_work(self, part: DistilledPart) -> Work:
        """Take the folder in which it is made."""
        ...

    def do(self, part: DistilledPart, work: Work, shard: Shard, between: Between) -> dict[str, Any]:
        """Leave a shard's content on the disk, and return what has shown."""
        ...

    def publish(self, part: DistilledPart, work: Work, results: Sequence[dict[str, Any]]) -> str:
        """Put what all shards have become beside the part, and in its manifest; return a line that says so.

        A process that was killed in it does it again from the beginning.
        """
        ...


def run(job: Job, parts: Sequence[DistilledPart], rank: int, size: int, between: Between) -> None:
    """Do this process's shards, and publish each part whose last shard is finished.

    Shard i of part p belongs to process (p + i) modulo ``size``: those that are finished are passed over, so other
    processes, and another number of them, go on where these were.

    Args:
        parts: all that are distilled, in their order.
        rank, size: this process among those that share the work.

    Raises:
        UserError: whatever the job refuses.
    """
    pending = [(number, part) for number, part in enumerate(parts) if not job.is_up_to_date(part)]
    if not pending and rank == 0:
        say(f"{job.name}: every distilled part has what it says already")
    for number, part in pending:
        shards = part.shards(job.shard_tokens)
        own = shards[(rank - number) % size :: size]
        if own or rank == 0:
            work = job.open_work(part)
            for shard in own:
                if not work.is_done(shard):
                    _do(job, part, work, shard, len(shards), between)
            _publish(job, part, work, shards)


def _do(job: Job, part: DistilledPart, work: Work, shard: Shard, count: int, between: Between) -> None:
    begun = time.monotonic()
    work.finish(shard, job.do(part, work, shard, between))
    rate = shard.tokens / max(time.monotonic() - begun, 1e-9)
    documents = f"documents {shard.first:,} to {shard.end - 1:,}"
    say(f"{job.name}: {part.title}: {documents}, one of {count:,} shards, {rate:,.0f} tokens/s")


def _publish(job: Job, part: DistilledPart, work: Work, shards: Sequence[Shard]) -> None:
    if work.results(shards) is None:
        return
    with _alone(work) as alone:
        results = work.results(shards) if alone and work.is_begun else None
        if results is not None:
            say(job.publish(part, work, results))
            work.clear()


@contextmanager
def _alone(work: Work) -> Iterator[bool]:
    """Hold a folder, or find that another process publishes from it at this moment or has just done so."""
    try:
        lock = folder_lock(work.folder, "danube teach")
        lock.__enter__()
    except UserError:
        yield False
        return
    try:
        yield True
    finally:
        lock.__exit__(None, None, None)
        if not work.is_begun:
            shutil.rmtree(work.folder, ignore_errors=True)
