"""Runs a search: the processes of one setting after another, each for as long as its trials come in a row."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import inf
from pathlib import Path
from types import FrameType

from custom_modules.bench.run import Request, Stopped, leave, problem_left, stop
from custom_modules.bench.search.machine import Machine, find_machine
from custom_modules.bench.search.prepared import check_prepared
from custom_modules.bench.search.records import Measured, Question, Records
from custom_modules.bench.search.report import in_short
from custom_modules.bench.search.space import Space
from custom_modules.bench.search.strategy import Failure, Search
from custom_modules.bench.search.trials import Held, Trial
from custom_modules.bench.variants import AS_CONFIGURED
from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import UserError
from custom_modules.folder_lock import folder_lock
from custom_modules.platform import cpu_threads
from custom_modules.platform.environment import import_megatron_for
from custom_modules.platform.launch import FORWARDED, check_single_node, die_with_launcher, launch, may_fork
from custom_modules.platform.world import World
from custom_modules.signal_handlers import handling
from custom_modules.text import flatten, say


@dataclass(frozen=True)
class SearchRequest:
    """What to search for, and how long."""

    request: Request
    minutes: float
    output: Path | None
    """The folder for what was measured; None: nothing is kept."""
    guard: Callable[[Callable[[], int], int], int]
    """Calls one process's share of the work, of so many, and gives the exit code whatever it raises."""

    def __post_init__(self) -> None:
        if not 0 < self.minutes < inf:
            raise UserError(f"--minutes {self.minutes:g}: give the minutes that the search may take, above 0")

    def reads_random_tokens(self, config: TrainingConfig) -> bool:
        """Tell whether windows are random even where data is prepared: of a distilled run plain steps are timed."""
        return self.request.random_tokens or bool(config.teachers)

    def command(self, folder: Path, into: Path, begun: float) -> list[str]:
        """Return the command line of one of the processes that measure a setting.

        Args:
            folder: has the records.
            into: takes what went wrong.
            begun: `time.time` when the search had taken no time.
        """
        request = self.request
        own = [f"--config-dir={request.config_dir}"] if request.config_dir else []
        random = ["--random-tokens"] if request.random_tokens else []
        stages = [f"--stages={','.join(request.stages)}"] if request.stages else []
        where = [f"--output={folder}", f"--into={into}", f"--begun={begun}"]
        name = f"--config-name={request.config_name}"
        return ["bench", "--search", name, *own, *stages, *random, *where, *request.overrides]


class _TimeIsUp(Exception):
    """The minutes are over."""


@dataclass
class Progress:
    """A search so far."""

    space: Space
    records: Records
    strategy: type[Search] = Search
    exit_code: int = 0
    """Of the signal that ended it."""

    def replay(self) -> tuple[Search, Trial | None]:
        """Search in the records, as far as they go; return the trial that they lack, None where they lack none."""
        outcomes = {measured.trial: measured.outcome for measured in self.records.measured}

        def look_up(trial: Trial) -> float | Failure:
            if trial not in outcomes:
                raise _Lacking(trial)
            return outcomes[trial]

        search = self.strategy(self.space, look_up)
        try:
            search.run()
        except _Lacking as lacking:
            return search, lacking.trial
        return search, None

    def tell(self, measured: Measured) -> None:
        """Say what became of a trial."""
        say(in_short(self.space, measured))

    def next_trial(self) -> Trial | None:
        """Return what is to be measured now; None where nothing is left."""
        return self.replay()[1]


class _Lacking(Exception):
    def __init__(self, trial: Trial) -> None:
        super().__init__(trial)
        self.trial = trial


@contextmanager
def searched(request: SearchRequest, world: World, strategy: type[Search] = Search) -> Iterator[Progress]:
    """Search until nothing is left to try, the minutes are over, or a signal comes; then give what was found.

    Args:
        strategy: says what is measured, and in which order.

    Raises:
        UserError: it cannot be begun, or go on.
    """
    if world.is_launched:
        raise UserError(
            f"--search: {world.source} has started {world.size} processes, and a search starts its own; call it once, "
            "on the node itself"
        )
    config = request.request.load(AS_CONFIGURED)
    check_single_node(config.trainer.num_nodes)
    machine = find_machine(config.trainer.accelerator)
    if machine.accelerator == "gpu" and config.trainer.devices > machine.count:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: this machine has {machine.count} GPU(s); set "
            f"trainer.devices={machine.count}"
        )
    space = _space(request.request, config, machine)
    _ = space.best_guess  # before anything is written: something has to fit
    if not request.reads_random_tokens(config):
        check_prepared(config, space.stages)
    with _folder(request.output) as folder:
        progress = Progress(space, Records(folder), strategy)
        progress.records.begin(_question(request.request, space))
        try:
            # While processes run, `launch` passes signals on to them.
            with handling(FORWARDED, stop), _time_limit(60 * request.minutes - progress.records.spent):
                _measure_all(request, progress, folder)
        except Stopped as stopped:
            progress.exit_code = stopped.exit_code
        except _TimeIsUp:
            say(f"the {request.minutes:g} minutes are over")
        # A measurement that was written when the end came.
        progress.records = Records(folder)
        yield progress


def measure_setting(request: SearchRequest, rank: int, into: Path, begun: float) -> int:
    """Measure the trials of the setting that is next, in one of the processes that `searched` has started.

    Args:
        into: takes what went wrong.
        begun: `time.time` when the search had taken no time.

    Returns:
        The exit code.
    """
    assert request.output is not None
    records = Records(request.output)
    assert records.question is not None
    config = request.request.load(AS_CONFIGURED)
    progress = Progress(_space(request.request, config, records.question.machine), records)
    return _work(request, progress, rank, into, begun)


def _space(request: Request, config: TrainingConfig, machine: Machine) -> Space:
    held = Held(tuple(sorted({word.partition("=")[0].lstrip("+~") for word in request.overrides})))
    return Space(config, machine, held, request.stages_of(config))


def _question(request: Request, space: Space) -> Question:
    return Question(
        machine=space.machine,
        config=dict(flatten(space.config.model_dump(mode="json"))),
        held=tuple(space.held.keys),
        stages=space.stages,
        random_tokens=request.random_tokens,
    )


@contextmanager
def _folder(output: Path | None) -> Iterator[Path]:
    if output is None:
        with tempfile.TemporaryDirectory(prefix="danube_search_") as folder:
            yield Path(folder)
        return
    with folder_lock(output, f"--output {output}"):
        yield output


@contextmanager
def _time_limit(seconds: float) -> Iterator[None]:
    """End what is done with `_TimeIsUp` after so many seconds. Only in the main thread."""

    def end(number: int, frame: FrameType | None) -> None:
        raise _TimeIsUp

    if seconds <= 0:
        raise _TimeIsUp
    with handling((signal.SIGALRM,), end):
        signal.setitimer(signal.ITIMER_REAL, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _measure_all(request: SearchRequest, progress: Progress, folder: Path) -> None:
    """Start the processes of one setting after another, until nothing is left to try.

    Raises:
        Stopped: a signal has ended them.
    """
    begun = time.time() - progress.records.spent
    forks = may_fork(progress.space.config.trainer.accelerator)
    if forks:
        # OpenMP and numpy read it once, when they are loaded: here.
        os.environ.setdefault("OMP_NUM_THREADS", str(cpu_threads(progress.space.config)))
    while (trial := progress.next_trial()) is not None:
        config = progress.space.trial_config(trial)
        with tempfile.TemporaryDirectory(prefix="danube_bench_") as into:
            code = launch(
                config.trainer.devices,
                request.command(folder, Path(into), begun),
                cpu_threads(config),
                _forked(request, progress, config, Path(into), begun) if forks else None,
            )
            if code - 128 in FORWARDED:
                raise Stopped(code - 128)
            problem, advice = problem_left(Path(into), code)
        progress.records = Records(folder)
        failed = progress.next_trial()
        if failed is not None and failed.setting == trial.setting and (problem or failed == trial):
            problem = problem or "the processes ended without a result"
            measured = Measured(failed, None, problem, advice, time.time() - begun)
            progress.records.add(measured)
            progress.tell(measured)


def _forked(
    request: SearchRequest, progress: Progress, config: TrainingConfig, into: Path, begun: float
) -> Callable[[], Callable[[], int]]:
    """Return what imports, once, what a process needs, and gives its work."""

    def work() -> int:
        for number in FORWARDED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        die_with_launcher()
        world, code = World.from_environment(), 1
        try:
            code = request.guard(lambda: _work(request, progress, world.rank, into, begun), world.size)
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            # The folders and locks above this in the stack are those of the process that it was forked from.
            os._exit(code)

    def import_once() -> Callable[[], int]:
        import_megatron_for(config)
        import custom_modules.bench.search.measure
        import custom_modules.training.out_of_memory  # noqa: F401

        return work

    return import_once


def _work(request: SearchRequest, progress: Progress, rank: int, into: Path, begun: float) -> int:
    """Measure the trials of the setting that is next, in this process; returns its exit code."""
    first = progress.next_trial()
    assert first is not None

    def measure() -> None:
        import_megatron_for(progress.space.trial_config(first))
        from custom_modules.bench.search.measure import measure_trials

        config_of, random_tokens = progress.space.trial_config, request.reads_random_tokens(progress.space.config)
        measure_trials(first, progress.records, progress.next_trial, config_of, random_tokens, begun, progress.tell)

    return leave(into, rank, measure)
