"""``python -m data_prep.rehearsal.learned RUN``: whether a run's model knows tasks' right answers better than it began.

By bits per byte of the right answers, from the scoring of ``trainer.evaluate``'s tasks before the first step to the
last one. Accuracies of so small a model are chance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from custom_modules.errors import UserError
from custom_modules.run_folder.metrics import EvaluationMetrics, read_metrics
from custom_modules.standard_streams import finished


def compare(run: Path) -> Iterator[str]:
    """Yield a line for each task, or the one that says why there is none.

    Raises:
        UserError: the right answers of one take as many bits as before the first step, or more.
    """
    found = [record for record in read_metrics(run) if isinstance(record, EvaluationMetrics)]
    if not found or found[0].tokens:
        yield f"{run}: no task was scored before its first step (trainer.evaluate), so there is nothing to compare with"
        return
    first, last = found[0], found[-1]
    for task, before in first.bits_per_byte.items():
        if task not in last.bits_per_byte:
            continue
        after = last.bits_per_byte[task]
        if after >= before:
            raise UserError(
                f"{run}: {task}: its right answers take {after:.4f} bits a byte after {last.tokens:,} tokens, and took "
                f"{before:.4f} before the first: nothing was learnt; look at the run's losses"
            )
        yield f"{task}: right answers take {after:.4f} bits a byte after {last.tokens:,} tokens, {before:.4f} before"


def main(arguments: Sequence[str]) -> int:
    """Print, and compare; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.learned", description=__doc__)
    parser.add_argument("run", type=Path, help="of `danube pretrain`")
    run = parser.parse_args(arguments).run

    def work() -> None:
        for line in compare(run):
            print(line, flush=True)

    return finished(work)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
