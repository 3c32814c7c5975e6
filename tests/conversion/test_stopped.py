"""A conversion that is stopped leaves nothing, or all of its output."""

from __future__ import annotations

import json
import signal
import sys
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.commands import environment
from tests.support.trained import SMALL, Trained

STOPS = 4
STOPPED = """
import json, os, random, shutil, signal, sys, time
from pathlib import Path
from threading import Timer
from custom_modules.cli import main

OWN = (".metadata", ".made_by_danube")
number, stops, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
arguments = json.loads(sys.argv[4])
folder.mkdir()

def convert():
    begun = time.perf_counter()
    assert main(arguments) == 0
    shutil.rmtree(folder)
    folder.mkdir()
    return time.perf_counter() - begun

convert()
duration = convert()
source, stopped = random.Random(0), 0
while stopped < stops:
    timer = Timer(duration * source.random(), os.kill, (os.getpid(), number))
    code = None
    try:
        timer.start()
        code = main(arguments)
        timer.join()
        time.sleep(0.01)
    except (KeyboardInterrupt, SystemExit):
        pass
    assert code in (None, 0, 130), code
    left = [path.relative_to(folder) for path in folder.rglob("*")]
    if left:
        assert (folder / "runs" / "output").is_dir(), left
        assert not [path for path in left if path.name.startswith(".") and path.name not in OWN], left
        from custom_modules.run_folder.checkpoint_files import open_checkpoint
        for checkpoint in folder.rglob("tokens_*"):
            open_checkpoint(checkpoint)
        shutil.rmtree(folder / "runs")
    else:
        assert code != 0
        stopped += 1
"""
"""Begins the same conversion again and again, until it was stopped so often."""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("direction", ["from-hf", "to-hf"])
def test_at_any_moment(
    trained: Trained, exported: Path, tmp_path: Path, direction: str, number: signal.Signals
) -> None:
    source = exported if direction == "from-hf" else trained.run_dir
    output = tmp_path / "made" / "runs" / "output"
    configured = ["--config-name", "danube_rehearsal", *SMALL] if direction == "from-hf" else []
    arguments = json.dumps(["convert", direction, str(source), str(output), *configured])
    program = [sys.executable, "-c", STOPPED, str(int(number)), str(STOPS), str(tmp_path / "made"), arguments]
    done = warm.run(program, env=environment(), timeout=180)
    assert done.returncode == 0, done.stderr
