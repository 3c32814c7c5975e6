"""The order in which a search measures, and what it leaves out.

It begins with the setting that is guessed to be the fastest, and finds each stage's micro-batch: from the one that is
guessed best to larger and smaller ones, as long as they are not slower. Then it varies one group of keys after the
other, the best guess first, and goes on from what is faster, until no variation is. The stage that takes most of the
run is measured first, and a variation is dropped that is so slow there that the others could hardly make up for it.
What comes near the fastest is measured again in the end, in turn, and the fastest of its measurements counts.

Nothing is decided but by what is measured and by the plan, so that a search which was killed goes on from its records.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol

from custom_modules.bench.search.trials import Pass, Setting, Trial

SLOWER = 0.03
"""What makes a micro-batch surely slower than another: below, the next one is looked at too."""
FAR = 0.3
"""A setting so much slower than the fastest in a stage's first micro-batch is none of the candidates."""
GAIN = 0.3
"""What a setting may gain in the stages that are not measured yet."""
NEAR = 0.05
"""How near to the fastest is measured again, since repeated measurements differ so much."""
CONTENDERS = 3
REPEATS = 2
STARTS = 5
"""Settings that are tried to begin with, where one after the other fails."""


class Failure(Enum):
    """Why a trial has no figure."""

    NO_ROOM = "no room"
    """Memory ran out: a smaller micro-batch may fit."""
    OTHER = "other"


Measure = Callable[[Trial], float | Failure]
"""Tokens/s of a trial over all devices."""


class Candidates(Protocol):
    """What may be tried; `custom_modules.bench.search.space.Space` in a search."""

    @property
    def stages(self) -> Sequence[str]:
        """Those that are measured."""
        ...

    @property
    def best_guess(self) -> Setting:
        """The setting to begin with."""
        ...

    def trained_tokens(self, stage: str) -> int:
        """Return the tokens that a run trains in a stage."""
        ...

    def passes(self, setting: Setting, stage: str) -> Sequence[Pass]:
        """Return the micro-batches that fit, the smallest first."""
        ...

    def best_pass(self, setting: Setting, stage: str) -> Pass:
        """Return the one that is guessed to be the fastest."""
        ...

    def guess_stage_seconds(self, setting: Setting, stage: str) -> float:
        """Guess what a stage takes."""
        ...

    def variations(self, setting: Setting) -> Sequence[Setting]:
        """Return the settings that differ from one in one group of keys, the best guess first."""
        ...


@dataclass(frozen=True)
class Found:
    """A setting that was measured in every stage, each with its fastest micro-batch."""

    setting: Setting
    sizes: dict[str, Pass]
    rates: dict[str, float]
    """Tokens/s of each stage."""
    seconds: float
    """What all stages take together."""
    tokens_per_second: float
    """Over all stages."""
    is_confirmed: bool
    """Whether every stage was measured more than once."""


class Search:
    """One search.

    Args:
        measure: may raise to end it; `found` then is of what was measured until then.
    """

    def __init__(self, candidates: Candidates, measure: Measure) -> None:
        self.candidates = candidates
        self._measure = measure
        self._rates: dict[tuple[Setting, str], dict[Pass, list[float]]] = {}
        self._stages = tuple(candidates.stages)
        self._tried: set[Setting] = set()

    def run(self) -> None:
        """Measure to the end."""
        best = self._begin()
        if best is None:
            return
        while True:
            better = next(self._faster_variations(best), None)
            if better is None:
                break
            best = better
        self._measure_again()

    @property
    def found(self) -> list[Found]:
        """The settings that were measured in every stage, the fastest first: of those that were measured again, where
        some were, since the fastest of many that were measured once is so by luck, too."""
        settings = dict.fromkeys(setting for setting, _ in self._rates)
        whole = [self._found(setting) for setting in settings]
        return sorted((one for one in whole if one), key=lambda one: (not one.is_confirmed, one.seconds))

    def _begin(self) -> Setting | None:
        first = self.candidates.best_guess
        others = self.candidates.variations(first)
        self._stages = tuple(sorted(self._stages, key=lambda stage: -self.candidates.guess_stage_seconds(first, stage)))
        for setting in (first, *others)[:STARTS]:
            self._tried.add(setting)
            # A micro-batch of every stage before the second of one: there is a winner as soon as can be.
            if all(self._first_that_runs(setting, stage) for stage in self._stages):
                for stage in self._stages:
                    self._climb(setting, stage, self.candidates.best_pass(setting, stage))
                return setting
        return None

    def _faster_variations(self, best: Setting) -> Iterator[Setting]:
        for other in self.candidates.variations(best):
            if other not in self._tried:
                self._tried.add(other)
                if self._is_faster(other, best):
                    yield other

    def _is_faster(self, setting: Setting, best: Setting) -> bool:
        """Measure a setting as far as it may be faster than the best."""
        there = self._found(best)
        assert there is not None, best
        left = {stage: self._seconds(stage, there.rates[stage]) for stage in self._stages}
        seconds = 0.0
        for stage in self._stages:
            start = self._nearest(setting, stage, there.sizes[stage])
            first = self._first_that_runs(setting, stage, start)
            if first is None or self._rate(setting, stage, first) < (1 - FAR) * there.rates[stage]:
                return False
            self._climb(setting, stage, start)
            del left[stage]
            seconds += self._seconds(stage, self._best(setting, stage)[1])
            if seconds + (1 - GAIN) * sum(left.values()) > there.seconds:
                return False
        return seconds < there.seconds

    def _measure_again(self) -> None:
        """Measure the fastest again, in turn, where others come near."""
        fastest, *others = self.found
        near = [one for one in others if one.seconds < (1 + NEAR) * fastest.seconds]
        for repeat in range(1, REPEATS + 1) if near else ():
            for one in (fastest, *near)[:CONTENDERS]:
                for stage in self._stages:
                    self._try(one.setting, stage, one.sizes[stage], repeat)

    def _climb(self, setting: Setting, stage: str, start: Pass) -> None:
        """Measure larger micro-batches than the first one that runs, then smaller ones, until they are slower."""
        passes = list(self.candidates.passes(setting, stage))
        first = self._first_that_runs(setting, stage, start)
        if first is None:
            return
        for direction in (1, -1):
            best, misses = self._best(setting, stage)[1], 0
            place = passes.index(first) + direction
            while 0 <= place < len(passes) and misses < 2:
                rate = self._try(setting, stage, passes[place])
                if isinstance(rate, Failure) or rate < (1 - SLOWER) * best:
                    break
                misses = 0 if rate > best else misses + 1
                best = max(best, rate)
                place += direction

    def _first_that_runs(self, setting: Setting, stage: str, start: Pass | None = None) -> Pass | None:
        """Return the largest micro-batch that finds room, from one on downwards; None where none runs."""
        passes = list(self.candidates.passes(setting, stage))
        start = start or self.candidates.best_pass(setting, stage)
        for size in reversed(passes[: passes.index(start) + 1]):
            rate = self._try(setting, stage, size)
            if rate is not Failure.NO_ROOM:
                return None if rate is Failure.OTHER else size
        return None

    def _nearest(self, setting: Setting, stage: str, size: Pass) -> Pass:
        """Return the largest micro-batch up to one of another setting."""
        passes = self.candidates.passes(setting, stage)
        below = [one for one in passes if one.micro_batch_size <= size.micro_batch_size]
        return below[-1] if below else passes[0]

    def _try(self, setting: Setting, stage: str, size: Pass, repeat: int = 0) -> float | Failure:
        rate = self._measure(Trial(setting, stage, size, repeat))
        if not isinstance(rate, Failure):
            rates = self._rates.setdefault((setting, stage), {}).setdefault(size, [])
            if len(rates) == repeat:
                rates.append(rate)
        return rate

    def _rate(self, setting: Setting, stage: str, size: Pass) -> float:
        return max(self._rates[setting, stage][size])

    def _best(self, setting: Setting, stage: str) -> tuple[Pass, float]:
        """Return the fastest micro-batch of those that were measured most often, and its rate."""
        rates = self._rates[setting, stage]
        size = max(rates, key=lambda size: (len(rates[size]), max(rates[size])))
        return size, max(rates[size])

    def _seconds(self, stage: str, rate: float) -> float:
        return self.candidates.trained_tokens(stage) / rate

    def _found(self, setting: Setting) -> Found | None:
        if any((setting, stage) not in self._rates for stage in self._stages):
            return None
        best = {stage: self._best(setting, stage) for stage in self.candidates.stages}
        rates = {stage: rate for stage, (_, rate) in best.items()}
        seconds = sum(self._seconds(stage, rate) for stage, rate in rates.items())
        tokens = sum(map(self.candidates.trained_tokens, self._stages))
        return Found(
            setting=setting,
            sizes={stage: size for stage, (size, _) in best.items()},
            rates=rates,
            seconds=seconds,
            tokens_per_second=tokens / seconds,
            is_confirmed=all(len(self._rates[setting, stage][size]) > 1 for stage, (size, _) in best.items()),
        )
