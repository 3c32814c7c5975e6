"""A teacher on Slurm: a process a task, stopped and requeued, leaves the rows that one process makes alone."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from custom_modules.data.manifest import load_manifest
from data_prep.teach.job import run
from data_prep.teach.parts import distilled_parts, students_tokenizer
from data_prep.teach.rows import RowsJob
from data_prep.teach.score import ModelScores
from data_prep.teach.teacher import open_teacher
from tests.support.distilled import config_of, overrides_of, prepare_distilled
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter
from tests.support.teachers import write_byte_level, write_llama

SHARD = 150


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_llama(write_byte_level(tmp_path_factory.mktemp("teacher") / "llama"), 448)


def rows_of(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*.rows*"))}


def test_stopped_and_requeued(submitter: Submitter, llama: Path) -> None:
    cluster = submitter.cluster
    data = prepare_distilled(submitter.folder)
    alone = submitter.folder / "alone"
    shutil.copytree(data, alone)
    config = config_of(alone)
    manifest = load_manifest(config)
    student = students_tokenizer(manifest)
    scores = ModelScores(open_teacher(llama), student, None, 4, torch.device("cpu"))
    job = RowsJob(config, "llama", scores, 4, SHARD)
    run(job, distilled_parts(manifest), 0, 1, lambda: None)

    words = ["--config-name", "danube_rehearsal", "--teacher", "llama", str(llama), f"--shard-tokens={SHARD}"]
    options = [*TASKS, "--output=%j.log", str(SCRIPTS / "teach.sh"), *words, *overrides_of(data)]
    submitted = cluster.submit(*options, cwd=submitter.folder)
    done = data / "teach.work" / "llama"
    cluster.wait_for(lambda: any(done.rglob("done/*.json")), 180, f"shards\n{submitter.log(submitted)}")
    cluster.run("scancel", "--batch", "--signal=USR1", str(submitted))
    assert cluster.wait(submitted) == "COMPLETED", submitter.log(submitted)
    log = submitter.log(submitted)
    assert cluster.job(submitted)["Restarts"] == "1", log
    assert f"job {submitted} is requeued" in log and "SIGUSR1: stopped; the same command goes on" in log
    assert rows_of(data) == rows_of(alone)
    assert not (data / "teach.work").exists()
