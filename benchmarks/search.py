"""The winner of `danube bench --search` on the rehearsal against the best of every setting and micro-batch that fits.

Both are then trained by `danube bench` in turn, a few times each, and held against one another pair by pair.
"""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from custom_modules.bench.run import Request
from custom_modules.bench.search.report import choose_winner
from custom_modules.bench.search.run import SearchRequest, searched
from custom_modules.bench.search.strategy import Search
from custom_modules.bench.search.trials import Setting
from custom_modules.commands.processes import traced
from custom_modules.platform.world import World

CONFIG = "danube_rehearsal"
MINUTES = 3
PAIRS = 5
STEPS = ["--warmup", "2", "--steps", "8"]


class Exhaustive(Search):
    """Measures everything that fits, once."""

    def run(self) -> None:
        for setting in self._settings():
            for stage in self.candidates.stages:
                for size in self.candidates.passes(setting, stage):
                    self._try(setting, stage, size)

    def _settings(self) -> list[Setting]:
        """Return all of them: whatever differs from one in a group of keys, and from that in another."""
        found = {self.candidates.best_guess: None}
        for setting in (left := list(found)):
            new = [other for other in self.candidates.variations(setting) if other not in found]
            found |= dict.fromkeys(new)
            left += new
        return list(found)


def danube(*arguments: str) -> str:
    done = subprocess.run([sys.executable, "-m", "custom_modules.cli", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def grid(folder: Path) -> tuple[str, ...]:
    """Measure every setting and micro-batch, and return the overrides of the fastest.

    Args:
        folder: has what was measured before, and keeps what is.
    """
    request = Request(CONFIG, None, (), (), warmup=0, steps=1, random_tokens=True)
    with searched(SearchRequest(request, 1e6, folder, traced), World.from_environment(), Exhaustive) as progress:
        found = progress.replay()[0].found
        return choose_winner(progress.space, progress.records, found[0]).overrides


def bench_search(folder: Path) -> None:
    """Print how long a search takes, and its winner beside the best of the grid.

    Args:
        folder: takes the grid's measurements.
    """
    print(f"\nThe fastest settings of {CONFIG}, by a search of {MINUTES} minutes at most and by every one that fits")
    begun = time.perf_counter()
    arguments = ["--config-name", CONFIG, "--random-tokens"]
    searched_for = json.loads(danube("bench", "--search", f"--minutes={MINUTES}", "--json", *arguments))
    seconds = time.perf_counter() - begun
    print(f"  the search: {len(searched_for['measurements'])} measurements in {seconds:.0f} s", flush=True)
    begun = time.perf_counter()
    variants = {"search": tuple(searched_for["overrides"]), "grid": grid(folder)}
    print(f"  the grid: {time.perf_counter() - begun:.0f} s", flush=True)
    for name, words in variants.items():
        print(f"  {name}: {shlex.join(words)}")
    rates: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(PAIRS):
        for name, words in variants.items():
            variant = ["--variant", f"{name}: {shlex.join(words)}"]
            measured = json.loads(danube("bench", *arguments, *STEPS, *variant, "--json"))
            rates[name].append(measured["averages"][name])
    ratios = [ours / best for ours, best in zip(rates["search"], rates["grid"], strict=True)]
    spread = min(rates["grid"]) / max(rates["grid"])
    for name in variants:
        each = " ".join(f"{rate:,.0f}" for rate in rates[name])
        print(f"  {name}: {statistics.median(rates[name]):,.0f} tokens/s over the curriculum ({each})")
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"  the search's over the grid's: {statistics.median(ratios):.3f} ({each})")
    print(f"  the slowest of the grid's own runs over its fastest: {spread:.3f}", flush=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        bench_search(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as name:
            bench_search(Path(name))
