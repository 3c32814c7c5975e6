"""The curriculum as a chain of jobs, to its end."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.slurm_jobs import SCRIPTS, STAGE1_END, STAGE1_STEPS, Submitter


def test_four_stages_are_the_run_without_slurm(submitter: Submitter, without_slurm: Path) -> None:
    cluster = submitter.cluster
    done = cluster.run(SCRIPTS / "curriculum.sh", *submitter.arguments, cwd=submitter.folder)
    assert done.returncode == 0, done.stderr
    chain = [line.split() for line in done.stdout.splitlines()]
    assert [stage for stage, _ in chain] == ["stage1", "stage2", "stage3", "stage4"]
    jobs = [int(job) for _, job in chain]
    cluster.wait_for(lambda: submitter.tokens() > 0, 180, "the first step")
    status = cluster.run(SCRIPTS / "status.sh", submitter.run_dir, "--json", cwd=submitter.folder)
    now = json.loads(status.stdout)
    assert now["stage"] == "stage1"
    assert [job["state"] for job in now["jobs"]] == ["RUNNING", "PENDING", "PENDING", "PENDING"]
    assert [job["id"] for job in now["jobs"]] == jobs
    assert [cluster.wait(job) for job in jobs] == ["COMPLETED"] * 4
    assert_same_run(without_slurm, submitter.run_dir)
    log = (submitter.folder / f"run-stage1-{jobs[0]}.log").read_text()
    assert f"slurm: job {jobs[0]} (run-stage1), restart 0, on node" in log
    assert "processes   2 on node" in log
    text = cluster.run(SCRIPTS / "status.sh", submitter.run_dir, cwd=submitter.folder).stdout
    assert "stage       stage4, finished" in text
    assert f"job         {jobs[-1]} run-stage4 COMPLETED: exit code 0:0" in text


def test_two_nodes_have_the_losses_of_one(submitter: Submitter, without_slurm: Path) -> None:
    words = ["trainer.num_nodes=2", "trainer.devices=1"]
    job = submitter.sbatch("stage1.sh", *words, options=["--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=0"])
    assert submitter.cluster.wait(job) == "COMPLETED", submitter.log(job)
    log = submitter.log(job)
    assert "2 on node1, node2, from slurm" in log
    assert "localhost" not in log
    assert "127.0.0.1" not in log
    losses = [line["loss"] for line in read_metrics(submitter.run_dir)]
    alone = [line["loss"] for line in read_metrics(without_slurm) if line["stage"] == "stage1"]
    assert losses == pytest.approx(alone, rel=1e-4)
    assert len(losses) == STAGE1_STEPS


def test_a_run_begins_with_another_runs_weights(submitter: Submitter, without_slurm: Path) -> None:
    short = ["model.sliding_window=null", "curriculum.stages.stage1.tokens=2048"]
    job = submitter.sbatch("stage1.sh", f"model.restore_from_path={without_slurm}", *short)
    assert submitter.cluster.wait(job) == "COMPLETED", submitter.log(job)
    newest = checkpoints(without_slurm)[-1]
    assert f"weights     to begin with those of {newest}" in submitter.log(job)
    assert f"beginning with the weights of {newest}, not with its optimizer state" in submitter.log(job)
    assert read_metrics(submitter.run_dir)[0]["loss"] < read_metrics(without_slurm)[0]["loss"]


def forget_after(run_dir: Path, tokens: int) -> None:
    for path in checkpoints(run_dir):
        if int(path.name.removeprefix("tokens_")) > tokens:
            shutil.rmtree(path)


def test_a_stage_that_fails_cancels_those_behind_it(submitter: Submitter, without_slurm: Path) -> None:
    """Stage 2 fails: its data are cut short after they were prepared."""
    cluster = submitter.cluster
    shutil.copytree(without_slurm, submitter.run_dir)
    forget_after(submitter.run_dir, STAGE1_END)
    data = submitter.folder / "data"
    source = next(word for word in submitter.arguments if word.startswith("data.dir=")).removeprefix("data.dir=")
    shutil.copytree(source, data)
    cut = next((data / "stage2").glob("*train*.bin"))
    with cut.open("r+b") as stream:
        stream.truncate(cut.stat().st_size // 2)
    command = [str(SCRIPTS / "curriculum.sh"), "--from", "stage2", *submitter.arguments, f"data.dir={data}"]
    done = cluster.run(*command, cwd=submitter.folder)
    assert done.returncode == 0, done.stderr
    stage2, stage3, stage4 = (int(line.split()[1]) for line in done.stdout.splitlines())
    assert cluster.wait(stage2) == "FAILED"
    assert [cluster.wait(job) for job in (stage3, stage4)] == ["CANCELLED", "CANCELLED"]
    log = (submitter.folder / f"run-stage2-{stage2}.log").read_text()
    assert f"danube: {cut}: " in log
    assert "it was cut; run `danube prepare` again" in log
    assert cluster.job(stage2)["ExitCode"] == "2:0"


def test_a_finished_stage_says_so_on_a_node_with_gpus(submitter: Submitter, without_slurm: Path) -> None:
    """The script asks for ``--gpus-per-node=8`` by default, which no CPU rehearsal needs."""
    shutil.copytree(without_slurm, submitter.run_dir)
    job = submitter.sbatch("stage2.sh", options=["--ntasks-per-node=2"])
    assert submitter.cluster.wait(job) == "COMPLETED", submitter.log(job)
    log = submitter.log(job)
    assert "stage2 is finished: " in log
    assert "the 8 GPU(s) a node from Slurm are idle" in log
    assert "tokens/s" not in log


def test_prepare_and_convert(submitter: Submitter, without_slurm: Path) -> None:
    cluster = submitter.cluster
    export = submitter.folder / "export"
    options = ["--output=%j.log", str(SCRIPTS / "convert.sh")]
    convert = cluster.submit(*options, "to-hf", without_slurm, export, cwd=submitter.folder)
    text = submitter.folder / "text.jsonl"
    text.write_text("".join(json.dumps({"text": f"document {number} " * 50}) + "\n" for number in range(3000)))
    words = [f"data.input={text}", "data.train_tokenizer=true", f"data.dir={submitter.folder / 'own'}"]
    prepare = submitter.sbatch(
        "prepare_data.sh", *words, "model.vocab_size=280", "data.validation_fraction=0.1", options=[]
    )
    assert cluster.wait(convert) == "COMPLETED", submitter.log(convert)
    assert cluster.wait(prepare) == "COMPLETED", submitter.log(prepare)
    assert (export / "config.json").is_file()
    assert (submitter.folder / "own" / "manifest.json").is_file()
