"""Python's garbage collection, by count between steps: in the middle of one, all ranks wait for the one that collects.

Reference counting frees most of what a step leaves behind; a collection finds the cycles. What is there when the loop
begins, libraries and engine, is frozen: no collection looks at it again.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


class Garbage:
    """What a loop over steps tells where it may be interrupted. Ranks that count alike collect at the same moments."""

    def __init__(self, interval: int) -> None:
        self.interval = interval

    def before_step(self, step: int) -> None:
        """Collect where ``step`` steps, all of the run so far, are a multiple of the interval."""
        if self.interval and step and step % self.interval == 0:
            gc.collect()

    def after_other_work(self) -> None:
        """Collect after a validation or a save, which leave more behind than a step does."""
        if self.interval:
            gc.collect()


@contextmanager
def collected_between_steps(interval: int) -> Iterator[Garbage]:
    """Leave no collection to Python's own rule; as it was before on the way out, also by an error.

    Args:
        interval: steps from one collection to the next; 0: Python's own rule, in the middle of whatever it may be.
    """
    if not interval:
        yield Garbage(0)
        return
    enabled, frozen = gc.isenabled(), gc.get_freeze_count()
    gc.disable()
    gc.collect()
    gc.freeze()
    own = gc.get_freeze_count() - frozen
    try:
        yield Garbage(interval)
    finally:
        # What was frozen before cannot be told from the rest any more. The few objects that never die, which Python
        # itself freezes from 3.12 on, are no loss; the pages that processes share would be.
        if frozen < own:
            gc.unfreeze()
        if enabled:
            gc.enable()
