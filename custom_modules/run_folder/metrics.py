"""What a run tells: a line for people, ``metrics.jsonl`` for programs, TensorBoard events."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

METRICS = "metrics.jsonl"


class MetricsWriter:
    """Appends to a run's metrics. Only rank 0 has one.

    Args:
        run_dir: the run's folder.
        consumed_tokens: where the run goes on from; lines that a killed run wrote beyond it are dropped, because those
            steps are trained again.
        tensorboard: write event files too.
    """

    def __init__(self, run_dir: Path, consumed_tokens: int, tensorboard: bool) -> None:
        self.path = run_dir / METRICS
        _drop_lines_beyond(self.path, consumed_tokens)
        self._stream = self.path.open("a")
        self._tensorboard: Any = None
        if tensorboard:
            from torch.utils.tensorboard import SummaryWriter

            self._tensorboard = SummaryWriter(run_dir / "tensorboard", purge_step=consumed_tokens + 1)

    def write(self, **record: Any) -> None:
        """Append one record; numbers go to TensorBoard under ``kind/name``, by tokens."""
        self._stream.write(json.dumps(record) + "\n")
        self._stream.flush()
        if self._tensorboard is not None:
            for name, value in record.items():
                if isinstance(value, int | float) and name not in ("tokens", "step"):
                    self._tensorboard.add_scalar(f"{record['kind']}/{name}", value, record["tokens"])

    def close(self) -> None:
        self._stream.close()
        if self._tensorboard is not None:
            self._tensorboard.close()


def _drop_lines_beyond(path: Path, consumed_tokens: int) -> None:
    if not path.is_file():
        return
    kept = []
    for line in path.read_text().splitlines():
        try:
            if json.loads(line)["tokens"] <= consumed_tokens:
                kept.append(line)
        except (ValueError, LookupError):
            continue
    aside = path.with_name(f".{path.name}.partial")
    with aside.open("w") as stream:
        stream.writelines(f"{line}\n" for line in kept)
        stream.flush()
        os.fsync(stream.fileno())
    aside.replace(path)
