"""``starts.jsonl``: every start of a run under Slurm, so that one that only ever starts is not requeued for ever."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from custom_modules.errors import UserError

STARTS = "starts.jsonl"
MAX_FRUITLESS_RESTARTS = 2


@dataclass(frozen=True)
class Start:
    """One start of a job."""

    job_id: int
    restart: int
    """Slurm's count: 0 for the first start of a job."""
    consumed_tokens: int
    """Where the run goes on from."""
    nodes: str
    """The nodes in Slurm's notation, such as ``node[1-2]``."""
    time: float
    """Seconds since 1970."""
    rollbacks: int = 0
    """How often the run had gone back from a loss spike by then."""


def this_start(consumed_tokens: int, env: Mapping[str, str] | None = None, rollbacks: int = 0) -> Start | None:
    """The start that this process belongs to; None outside Slurm.

    Args:
        rollbacks: how often the run went back from a loss spike.
    """
    env = os.environ if env is None else env
    if "SLURM_JOB_ID" not in env:
        return None
    return Start(
        job_id=int(env["SLURM_JOB_ID"]),
        restart=int(env.get("SLURM_RESTART_COUNT") or 0),
        consumed_tokens=consumed_tokens,
        nodes=env.get("SLURM_JOB_NODELIST", ""),
        time=time.time(),
        rollbacks=rollbacks,
    )


def read_starts(run_dir: Path) -> list[Start]:
    """All starts so far, oldest first. A line that was cut short by a crash is passed over."""
    try:
        lines = (run_dir / STARTS).read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    starts = []
    for line in lines:
        try:
            starts.append(Start(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return starts


def record_start(run_dir: Path, start: Start) -> None:
    """Append a start; refuse it if the job was restarted for nothing as often as it may be.

    Raises:
        UserError: the restarts before this one and this one all begin at the same token count, and the run did not go
            back there meanwhile.
    """
    before = [earlier for earlier in read_starts(run_dir) if earlier.job_id == start.job_id and earlier.restart > 0]
    last = [*before, start][-MAX_FRUITLESS_RESTARTS:]
    run_dir.mkdir(parents=True, exist_ok=True)
    with (run_dir / STARTS).open("a") as stream:
        stream.write(json.dumps(asdict(start)) + "\n")
    fruitless = start.restart > 0 and len(last) == MAX_FRUITLESS_RESTARTS
    here = (start.consumed_tokens, start.rollbacks)
    if fruitless and all((earlier.consumed_tokens, earlier.rollbacks) == here for earlier in last):
        raise UserError(
            f"job {start.job_id}: {MAX_FRUITLESS_RESTARTS} restarts from {start.consumed_tokens:,} tokens brought no "
            f"progress; see in its log why it ended, then submit it again ({run_dir / STARTS} has every start)"
        )
