"""Python collects garbage between steps, after the same ones on every rank, and nowhere else; the run is the same."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest

from custom_modules.training.garbage import collected_between_steps
from tests.support.commands import environment, free_ports
from tests.support.runs import assert_same_run

IMMORTAL = 2_000
"""More objects than Python freezes by itself: from 3.12 on those that never die, a few hundred."""
Run = subprocess.CompletedProcess[str]

WATCHED = """
import gc, json, os, sys
from custom_modules.cli import main
from custom_modules.training import engine
events, inside = [], []
def watch(phase, info):
    if phase == "start":
        events.append(["collected", inside[-1] if inside else None, info["generation"]])
    elif info["generation"] == 2:
        events.append(["objects", len(gc.get_objects())])
def watched(name):
    function = getattr(engine.Engine, name)
    def call(self, *arguments):
        if not events:
            events.append(["begun"])
            gc.callbacks.append(watch)
            gc.set_threshold(200, 5, 5)  # Python's own rule has it often
        inside.append(name)
        try:
            result = function(self, *arguments)
        finally:
            inside.pop()
        events.append([name])
        return result
    setattr(engine.Engine, name, call)
watched("train_step")
watched("evaluate")
try:
    code = main(sys.argv[2:])
finally:
    gc.callbacks.clear()
    state = {"events": events, "enabled": gc.isenabled(), "frozen": gc.get_freeze_count()}
    open(sys.argv[1] + os.environ.get("RANK", ""), "w").write(json.dumps(state))
sys.exit(code)
"""


def watch(path: Path, command: list[str], processes: int = 1) -> list[dict[str, Any]]:
    """Run `danube` in some processes, watched; returns what each saw."""
    port = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_ports(1)[0]), "WORLD_SIZE": str(processes)}
    places = [{**port, "RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(processes)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WATCHED, str(path), *command],
            env={**environment(), **(place if processes > 1 else {})},
            stderr=subprocess.PIPE,
            text=True,
        )
        for place in places
    ]
    said = [worker.communicate(timeout=600)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * processes, said
    names = [f"{path}{rank}" for rank in range(processes)] if processes > 1 else [str(path)]
    return [json.loads(Path(name).read_text()) for name in names]


def inside_of(events: list[list[Any]]) -> list[list[Any]]:
    return [event for event in events if event[0] == "collected" and event[1]]


def steps_before_collections(events: list[list[Any]]) -> list[int]:
    """Return after how many steps there were whole collections; none before the first step counts."""
    steps, found = 0, []
    for event in events:
        steps += event[0] == "train_step"
        if steps and event[0] == "collected" and event[2] == 2:
            found.append(steps)
    return [steps for steps, _ in groupby(found)]


def objects_after(events: list[list[Any]]) -> list[int]:
    """Return how many objects there were after each whole collection, of those that are not frozen."""
    return [event[1] for event in events if event[0] == "objects"]


@pytest.mark.slow
def test_between_steps_by_count_and_the_same_run(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """20 steps; a validation behind the 8th, 14th (the stage's end), 16th and 20th, saves behind every 4th as well."""
    alone = "trainer.devices=1"
    (counted,) = watch(tmp_path / "counted", tiny("by_count", alone, "model.gc_interval=3"))
    (own,) = watch(tmp_path / "own", tiny("own_rule", alone, "model.gc_interval=0"))
    assert inside_of(own["events"]), "Python's own rule has none, so that this test shows nothing"
    assert inside_of(counted["events"]) == []
    other_work = {4, 8, 12, 14, 16, 20}
    assert set(steps_before_collections(counted["events"])) == {3, 6, 9, 12, 15, 18} | other_work
    objects = objects_after(counted["events"])[1:]  # the first save imports what it needs
    assert max(objects) - min(objects) < 100, objects
    assert counted["enabled"] and own["enabled"]
    assert abs(counted["frozen"] - own["frozen"]) < IMMORTAL
    assert_same_run(tmp_path / "by_count", tmp_path / "own_rule")


@pytest.mark.slow
def test_after_the_same_steps_on_every_rank_and_in_a_bench(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    both = watch(tmp_path / "rank", tiny("both", "trainer.devices=2", "model.gc_interval=3"), 2)
    assert all(inside_of(rank["events"]) == [] for rank in both)
    first, second = (steps_before_collections(rank["events"]) for rank in both)
    assert first == second and {3, 6, 9} < set(first)
    _, *words = tiny("none", "trainer.devices=2", "model.gc_interval=2", "--variant", "a:", "--json")
    timed = watch(tmp_path / "bench", ["bench", *words, "--steps=5", "--warmup=0", "--stages=stage1"], 2)
    assert all(inside_of(rank["events"]) == [] for rank in timed)
    assert [steps_before_collections(rank["events"])[:2] for rank in timed] == [[2, 4], [2, 4]]


def test_a_run_may_change_it(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    short = ["trainer.devices=1", "curriculum.stages.stage1.tokens=1024", "curriculum.stages.stage2.tokens=512"]
    first = danube(*tiny("run", *short, "curriculum.stage=stage1", "model.gc_interval=1"))
    second = danube(*tiny("run", *short, "model.gc_interval=0"))
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("interval", [0, 5])
def test_what_was_before_comes_back(enabled: bool, interval: int) -> None:
    """After an error too."""
    was = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        frozen = gc.get_freeze_count()
        with pytest.raises(ZeroDivisionError), collected_between_steps(interval):
            assert gc.isenabled() == (enabled and not interval)
            raise ZeroDivisionError
        assert gc.isenabled() == enabled
        assert gc.get_freeze_count() < frozen + IMMORTAL
    finally:
        (gc.enable if was else gc.disable)()


def test_it_is_a_number_of_steps(danube: Callable[..., Run]) -> None:
    refused = danube("plan", "--config-name", "danube_1_8b", "model.gc_interval=-1")
    assert refused.returncode == 2
    assert refused.stderr.startswith("danube: model.gc_interval=-1: ") and refused.stderr.count("\n") == 1
