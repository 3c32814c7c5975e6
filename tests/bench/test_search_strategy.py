"""The order of a search, on timings that were recorded: every setting and micro-batch of the rehearsal, on two cores.

`benchmarks.search` measures such a table. The search plays in it, with the plan's own space and guesses.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.bench.search.machine import Machine
from custom_modules.bench.search.space import Space
from custom_modules.bench.search.strategy import REPEATS, Failure, Found, Search
from custom_modules.bench.search.trials import Held, Setting, Trial
from custom_modules.config.load import load_config

RECORDED = sorted((Path(__file__).parent / "recorded").glob("*.json"))
SPREAD = 0.05
"""What is allowed a search; repeated runs of one setting differed by more: docs/performance.md."""

Table = dict[tuple[Setting, str, int], float]


def read(path: Path) -> Table:
    return {
        (tuple(one["setting"].items()), stage, int(size)): rate
        for one in json.loads(path.read_text())
        for stage, rates in one["tokens_per_second"].items()
        for size, rate in rates.items()
    }


def space() -> Space:
    config = load_config("danube_rehearsal")
    machine = Machine("cpu", "two cores", 2, 24 * 2**30, (), False, {})
    return Space(config, machine, Held(()), tuple(config.stages))


def seconds(candidates: Space, table: Table, setting: Setting) -> float:
    """What a run takes by a table, each stage with the fastest micro-batch that may be tried."""
    total = 0.0
    for stage in candidates.stages:
        sizes = [size.micro_batch_size for size in candidates.passes(setting, stage)]
        total += candidates.trained_tokens(stage) / max(table[setting, stage, size] for size in sizes)
    return total


def played(candidates: Space, measure: Callable[[Trial], float | Failure]) -> tuple[Search, list[Trial]]:
    asked: list[Trial] = []

    def counted(trial: Trial) -> float | Failure:
        asked.append(trial)
        return measure(trial)

    search = Search(candidates, counted)
    search.run()
    return search, list(dict.fromkeys(asked))


def best_of(candidates: Space, table: Table) -> float:
    return min(seconds(candidates, table, setting) for setting in candidates.settings if candidates.fits(setting))


def of_table(candidates: Space, table: Table, found: Found) -> float:
    """What a run with the winner's micro-batches takes by a table."""
    return sum(
        candidates.trained_tokens(stage) / table[found.setting, stage, found.sizes[stage].micro_batch_size]
        for stage in candidates.stages
    )


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_the_winner_is_the_best_of_the_grid(path: Path) -> None:
    """Within the spread, by a part of its measurements."""
    table, candidates = read(path), space()
    search, asked = played(candidates, lambda trial: table[trial.setting, trial.stage, trial.size.micro_batch_size])
    assert search.found[0].seconds == pytest.approx(of_table(candidates, table, search.found[0]))
    assert search.found[0].seconds <= (1 + SPREAD) * best_of(candidates, table)
    assert len(asked) < len(table) / 4


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_steps_that_are_now_and_then_slower(path: Path) -> None:
    """Of each measurement as recorded up to a tenth is lost: what is found is as good by the record."""
    table, candidates = read(path), space()
    for seed in range(10):
        source = random.Random(seed)
        search, _ = played(
            candidates,
            lambda trial, source=source: (  # type: ignore[misc]
                table[trial.setting, trial.stage, trial.size.micro_batch_size] * source.uniform(0.9, 1)
            ),
        )
        assert of_table(candidates, table, search.found[0]) <= (1 + SPREAD + 0.1) * best_of(candidates, table)


def test_what_fails_is_passed_over() -> None:
    """No room: a smaller micro-batch; another failure: another setting. The best of what is left is found."""
    table, candidates = read(RECORDED[0]), space()
    first = candidates.best_guess

    def measure(trial: Trial) -> float | Failure:
        if trial.setting == first:
            return Failure.OTHER
        if trial.size.micro_batch_size > 8:
            return Failure.NO_ROOM
        return table[trial.setting, trial.stage, trial.size.micro_batch_size]

    search, asked = played(candidates, measure)
    assert [trial.setting for trial in asked].count(first) == 1
    assert search.found and search.found[0].setting != first
    assert max(size.micro_batch_size for size in search.found[0].sizes.values()) <= 8
    assert played(candidates, lambda trial: Failure.OTHER)[0].found == []


class Over(Exception):
    """The end of a search, whatever ends it."""


def test_there_is_a_winner_once_every_stage_has_been_measured() -> None:
    """And from then on."""
    table, candidates = read(RECORDED[0]), space()
    for most in range(12):
        asked: list[Trial] = []

        def measure(trial: Trial, asked: list[Trial] = asked, most: int = most) -> float:
            if len(asked) == most:
                raise Over
            asked.append(trial)
            return table[trial.setting, trial.stage, trial.size.micro_batch_size]

        search = Search(candidates, measure)
        with pytest.raises(Over):
            search.run()
        assert bool(search.found) == (len(set(asked)) >= len(candidates.stages))


def test_what_is_near_is_measured_again_in_turn() -> None:
    """All rates alike: three contenders, each as often; the one that is faster then wins."""
    candidates = space()

    def measure(trial: Trial) -> float:
        is_plain = dict(trial.setting)["model.optim.name"] == "adamw"
        return 1000 + (200 if trial.repeat and is_plain else 0)

    search, asked = played(candidates, measure)
    again = [trial for trial in asked if trial.repeat]
    contenders = list(dict.fromkeys(trial.setting for trial in again))
    assert len(contenders) == 3 and len(again) == REPEATS * 3 * len(candidates.stages)
    assert [trial.setting for trial in again[:: len(candidates.stages)]] == contenders * REPEATS
    assert search.found[0].is_confirmed
    if any(dict(setting)["model.optim.name"] == "adamw" for setting in contenders):
        assert dict(search.found[0].setting)["model.optim.name"] == "adamw"
