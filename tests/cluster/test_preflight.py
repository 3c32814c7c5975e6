"""One table, and one line for what is wrong, the same on every process."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.cluster.preflight import check_process_count
from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.platform.world import World
from custom_modules.run_folder.starts import STARTS
from tests.support import warm
from tests.support.commands import environment, run_danube
from tests.support.strangers import put, snapshot

Run = subprocess.CompletedProcess[str]


def preflight(danube: Callable[..., Run], arguments: list[str]) -> tuple[int, dict[str, str], list[str]]:
    """The exit code, what the table says of each check, and the lines after it."""
    done = danube("preflight", *arguments[1:])
    lines = done.stderr.splitlines()
    rows = {}
    for line in lines:
        if match := re.fullmatch(r"  (\w[\w-]*(?: folder)?) {2,}(.*?) {2,}(ok|FAILED)", line):
            rows[match[1]] = f"{match[3]}: {match[2].strip()}"
    return done.returncode, rows, [line for line in lines if line.startswith("danube: ")]


@pytest.mark.slow
def test_what_it_looks_at(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    code, rows, problems = preflight(danube, tiny("run", "trainer.devices=2"))
    assert (code, problems) == (0, [])
    checks = ["processes", "devices", "run folder", "data", "all-reduce", "save", "memory", "disk", "progress"]
    assert list(rows) == checks
    assert all(row.startswith("ok: ") for row in rows.values())
    assert rows["devices"] == "ok: 2 x CPU"
    assert rows["run folder"] == f"ok: {tmp_path / 'run'}, written and read by all"
    assert re.fullmatch(r"ok: 16 MiB over gloo in [\d.]+ ms", rows["all-reduce"])
    assert rows["progress"] == "ok: 0 of the 10,240 tokens that end stage2"
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_the_start_of_a_job_is_written_into_a_runs_folder_only(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    def in_a_job(*arguments: str) -> Run:
        return run_danube(*arguments, env={**environment(), "SLURM_JOB_ID": "7"})

    begun, one_stage = tiny("run", "trainer.devices=1"), "curriculum.stage=stage1"
    assert in_a_job("preflight", *begun[1:]).returncode == 0
    assert (tmp_path / "run" / STARTS).is_file()
    assert in_a_job(*begun, one_stage).returncode == 0

    put(tmp_path / "theirs", ["config.yaml"])
    before = snapshot(tmp_path / "theirs")
    done = in_a_job("preflight", *tiny("theirs", "trainer.devices=1")[1:])
    assert done.returncode == 2
    assert "theirs/config.yaml is in the way: no run made it" in done.stderr
    assert snapshot(tmp_path / "theirs") == before


def test_everything_that_is_wrong_in_one_line(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    folders = ["data.dir=nowhere", "exp_manager.exp_dir=/proc/nowhere"]
    code, rows, problems = preflight(danube, tiny("run", "trainer.devices=2", *folders))
    assert code == 2
    assert {check for check, row in rows.items() if row.startswith("FAILED")} == {"run folder", "data", "disk"}
    (problem,) = problems
    assert "run folder: exp_manager.exp_dir=/proc/nowhere: " in problem
    assert "; data: data.dir=nowhere: nothing is prepared there" in problem


def test_too_little_disk(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    """More checkpoints kept than any disk holds."""
    keep = "exp_manager.checkpoint_callback_params.save_last_n=1000000000000"
    code, rows, (problem,) = preflight(danube, tiny("run", "trainer.devices=1", keep))
    assert code == 2
    assert rows["disk"].startswith("FAILED: ")
    needed = re.search(r"B free, ([\d,.]+) TB needed for 1000000000003 more checkpoint", problem)
    assert needed is not None
    assert float(needed[1].replace(",", "")) * 1e12 > shutil.disk_usage("/").total
    assert problem.endswith("free some space, or set exp_manager.exp_dir to a larger disk")


@pytest.mark.slow
def test_too_little_memory(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    """More weights than any machine holds."""
    code, rows, (problem,) = preflight(danube, tiny("run", "trainer.devices=1", "model.ffn_hidden_size=400000000"))
    assert code == 2
    assert rows["memory"].startswith("FAILED: ") and rows["memory"].endswith(" GiB by the plan, in stage2")
    assert "memory: model.micro_batch_size=2: stage2 needs " in problem
    assert "no setting has it fit on trainer.devices=1 x trainer.num_nodes=1: divide the model over more" in problem


@pytest.mark.slow
def test_a_save_that_would_fail(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    """A process that the others wait for fails alone."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "checkpoints").write_text("somebody's")
    code, rows, (problem,) = preflight(danube, tiny("run", "trainer.devices=2"))
    assert code == 2
    assert rows["save"] == "FAILED: a small checkpoint"
    assert f"save: process 0 on {socket.gethostname()}: " in problem
    assert str(tmp_path / "run" / "checkpoints") in problem


def test_no_gpu(danube: Callable[..., Run], tiny: Callable[..., list[str]]) -> None:
    code, _, (problem,) = preflight(danube, tiny("run", "trainer.devices=1", "trainer.accelerator=gpu"))
    assert code == 2
    assert ": trainer.accelerator=gpu: torch sees no GPU here" in problem


@pytest.mark.parametrize(
    ("source", "remedy"),
    [
        (
            "slurm",
            "submit with sbatch --nodes=1 --ntasks-per-node=8 --gpus-per-node=8, or set both to what was started",
        ),
        ("torchrun", "set both to what was started"),
    ],
)
def test_too_few_processes(source: str, remedy: str) -> None:
    message = f"trainer.num_nodes=1, trainer.devices=8: that is 8 process(es), but {source} started 2; {remedy}"
    with pytest.raises(UserError, match=re.escape(message)):
        check_process_count(load_config("danube_1_8b"), World(0, 2, 0, "node1", 20000, source))


@pytest.mark.slow
def test_a_process_that_cannot_reach_the_others_says_where_it_is(tiny: Callable[..., list[str]]) -> None:
    program = f"""
from datetime import timedelta
from custom_modules import cli
from custom_modules.cluster import preflight
preflight.CONNECT_TIMEOUT = timedelta(seconds=2)
raise SystemExit(cli.main({["preflight", *tiny("run", "trainer.devices=2")[1:]]!r}))
"""
    with socket.socket() as nobody_listens:
        nobody_listens.bind(("127.0.0.1", 0))
        port = str(nobody_listens.getsockname()[1])
        place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        done = warm.run([sys.executable, "-c", program], env={**environment(), **place}, timeout=60)
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"danube: preflight: process 1 on {socket.gethostname()} cannot reach the others at ")
    assert f"127.0.0.1:{port} (" in last
