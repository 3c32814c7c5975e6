"""`make gpu-day`: what a GPU has to say of this program in nine minutes, the most valuable first.

Every result is on the disk as soon as it is there: `results.jsonl` for programs, `performance.md` for the docs, `log/`
for what the commands said. Whatever ends it, what was found stays, and the same command goes on: with the parts that
have no result, then with those that went wrong. Results of another commit, other versions or another chip have another
folder.

Exit code: 0 where all parts passed, or cannot be tried here; 1 where one failed or ran out of time; 2 for a mistake;
128 and the signal's number for a stop.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
import traceback
from itertools import accumulate
from pathlib import Path
from types import FrameType

from custom_modules.errors import UserError, exit_code
from custom_modules.folder_lock import folder_lock
from custom_modules.text import say
from tests.gpu_day.commands import GRACE, Commands, OutOfTime
from tests.gpu_day.facts import ROOT, find_facts
from tests.gpu_day.machines import SIZES, machine_of
from tests.gpu_day.parts import PARTS, TOTAL, Day, Failed, Part, Skipped
from tests.gpu_day.results import Result, Results, folder_for
from tests.gpu_day.table import write_page

STOPS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)


class Stopped(BaseException):
    """A signal asked for the end."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def main(arguments: list[str] | None = None) -> int:
    """Run the parts that are left; returns the exit code."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser("gpu_day", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="full", help="tiny rehearses it, on a CPU too")
    parser.add_argument("--budget", type=float, default=TOTAL, help=f"seconds for all of it (default: {TOTAL:g})")
    parser.add_argument(
        "--folder", type=Path, default=Path("runs/gpu_day"), help="of the results (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    for number in STOPS:
        signal.signal(number, _stop)
    try:
        return run(options.size, options.budget, options.folder.absolute(), begun)
    except UserError as error:
        print(f"gpu_day: {error}", file=sys.stderr)
        return exit_code(error)
    except Stopped as stopped:
        return 128 + stopped.number


def _stop(number: int, frame: FrameType | None) -> None:
    raise Stopped(number)


def run(size: str, budget: float, base: Path, begun: float) -> int:
    """Run the parts that are left, within a budget that counts from ``begun``, of `time.monotonic`.

    Raises:
        UserError: nothing can be run here.
    """
    if not budget > 0:
        raise UserError(f"--budget {budget:g}: give seconds, more than 0")
    machine = machine_of(size)
    facts = find_facts(machine, size)
    folder = folder_for(base, facts)
    if folder != base:
        say(f"{base} has results of another commit, other versions or another chip: these go to {folder}")
    with folder_lock(folder, "--folder"):
        results = Results(folder, facts)
        day = Day(size, machine, facts, folder, Commands(ROOT, machine.environment))
        say(facts.as_line())
        try:
            left = to_do(results)
            for part, until in zip(left, deadlines(left, begun + budget), strict=True):
                results.add(result := outcome_of(part, day, until))
                write_page(results)
                say(f"{part.name}: {result.outcome} in {result.seconds:.0f} s: {result.found}")
        finally:
            day.commands.end()
        page = write_page(results)
        print(page.read_text(), end="")
        say(f"{page}: for docs/performance.md")
    good = all(results.outcome(part.name) in ("passed", "skipped") for part in PARTS)
    return 0 if good else 1


def to_do(results: Results) -> list[Part]:
    """Return the parts without a result, then those to be tried again."""
    left = [part for part in PARTS if results.outcome(part.name) != "passed"]
    return sorted(left, key=lambda part: results.outcome(part.name) is not None)


def deadlines(parts: list[Part], end: float) -> list[float]:
    """Return by when each part has to end, of `time.monotonic`, where all share what is left up to ``end``.

    What one leaves comes to those behind it; what a part that is ended needs for its end is taken off.
    """
    now = time.monotonic()
    left, whole = max(0.0, end - GRACE - now), sum(part.seconds for part in parts)
    return [now + left * so_far / whole for so_far in accumulate(part.seconds for part in parts)]


def outcome_of(part: Part, day: Day, until: float) -> Result:
    """Run a part; whatever goes wrong in it is its result."""
    begun = time.monotonic()
    day.commands.until = until

    def result(outcome: str, text: str, figures: dict[str, object] | None = None) -> Result:
        return Result(part.name, outcome, text, time.monotonic() - begun, figures or {})  # type: ignore[arg-type]

    try:
        if begun > until:
            raise OutOfTime
        found = part.work(day)
    except Skipped as skipped:
        return result("skipped", str(skipped))
    except Failed as failed:
        return result("failed", str(failed), failed.figures)
    except OutOfTime:
        return result("ended", f"not done in its {max(0.0, until - begun):.0f} s; the same command tries it again")
    except Exception as error:
        traceback.print_exc()
        return result("failed", f"{type(error).__name__}: {error}")
    return result("passed", found.text, found.figures)


if __name__ == "__main__":
    sys.exit(main())
