"""Stopping on request: SIGTERM, SIGUSR1 and SIGINT let the step finish and be saved."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


class StopRequest:
    """Set by a signal on any rank; the ranks agree on it once a step."""

    def __init__(self) -> None:
        self.received: int = 0

    def agreed(self, device: torch.device) -> str | None:
        """The signal's name if any rank has received one, on every rank alike. Collective."""
        flag = torch.tensor([self.received], dtype=torch.int32, device=device)
        torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
        number = int(flag.item())
        return signal.Signals(number).name if number else None


@contextmanager
def stop_requests() -> Iterator[StopRequest]:
    """Catch the stop signals while the context is open. A second SIGINT interrupts at once."""
    request = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGINT and request.received == signal.SIGINT:
            raise KeyboardInterrupt
        request.received = number

    previous = {number: signal.signal(number, handle) for number in STOP_SIGNALS}
    try:
        yield request
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
