"""`slurm/dpo.sh` on Slurm: a process a task; stopped and requeued it ends as a run that was left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import run_danube
from tests.support.preferences import dpo_arguments, make_chat_export, make_pairs, prepare_pairs
from tests.support.runs import records
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter

pytest.importorskip("trl", reason="the extra chat is not installed")


def test_asks_for_two_gpus() -> None:
    script = (SCRIPTS / "dpo.sh").read_text()
    assert "#SBATCH --gpus-per-node=2\n#SBATCH --ntasks-per-node=2\n" in script


def test_stopped_and_requeued(submitter: Submitter) -> None:
    cluster, folder = submitter.cluster, submitter.folder
    export = make_chat_export(folder / "export")
    pairs: Path = prepare_pairs(folder / "pairs", export, make_pairs(50, 1))
    two = ("trainer.devices=2", "model.micro_batch_size=1")
    alone = run_danube(*dpo_arguments(export, pairs, folder, "alone", *two), timeout=600)
    assert alone.returncode == 0, alone.stderr
    _, *words = dpo_arguments(export, pairs, folder, "run", *two)
    job = cluster.submit(*TASKS, "--output=%j.log", str(SCRIPTS / "dpo.sh"), *words, cwd=folder)
    saved = folder / "run" / "checkpoints"
    cluster.wait_for(lambda: any(saved.glob("tokens_*")), 300, f"a checkpoint\n{submitter.log(job)}")
    cluster.run("scancel", "--batch", "--signal=USR1", str(job))
    assert cluster.wait(job) == "COMPLETED", submitter.log(job)
    log = submitter.log(job)
    assert f"job {job} is requeued" in log and "the same command goes on" in log
    assert records(folder / "run") == records(folder / "alone")
