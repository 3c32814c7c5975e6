"""Stopping on request: SIGTERM, SIGUSR1 and SIGINT let the step finish and be saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Set by a signal on any rank; the ranks agree on it once a step."""

    def __init__(self) -> None:
        self.received: int = 0

    def agreed(self, device: torch.device) -> str | None:
        """The signal's name if any rank has received one, on every rank alike. Collective."""
        import torch

        flag = torch.tensor([self.received], dtype=torch.int32, device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        number = int(flag.item())
        return signal.Signals(number).name if number else None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch the stop signals, and ignore them afterwards until the process has ended. A second SIGINT interrupts.

    Afterwards too, because srun sends SIGTERM to the other processes as soon as one has left with a code other than 0:
    they are leaving with the same code, and must not be killed on the way out. Python gives handlers of its own back
    when it ends, but leaves ignored signals ignored.
    """
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.received == signal.SIGINT:
            raise KeyboardInterrupt
        request.received = number

    for number in STOP_SIGNALS:
        signal.signal(number, handle)
    # A process that the launcher has forked begins with them blocked.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield request
    finally:
        for number in STOP_SIGNALS:
            signal.signal(number, signal.SIG_IGN)
