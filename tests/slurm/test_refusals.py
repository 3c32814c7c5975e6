"""Mistakes that Slurm, or what is submitted to it, would only show after hours in the queue: one clear line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--partition=nosuch"], "curriculum.sh: stage1: sbatch: allocation failure: Invalid partition name specified"),
        (
            ["--nodes=9"],
            "curriculum.sh: stage1: sbatch: allocation failure: Requested node configuration is not available",
        ),
        (["--output=nosuch/%j.log"], "curriculum.sh: --output=nosuch/%j.log: there is no folder nosuch; make it first"),
        (["data.dir=nosuch"], "danube: data.dir=nosuch: nothing is prepared there"),
        (["--after", "99999"], "curriculum.sh: --after 99999: Slurm knows no such job"),
        (
            ["--from", "stage3"],
            "danube: --from stage3: starts at 43,008 tokens, but {run} is at 0; begin with an earlier",
        ),
        (["--from", "stage5"], "danube: --from stage5: no such stage; there are stage1, stage2, stage3, stage4"),
        (["--from", "stage2", "--to", "stage1"], "danube: --from stage2 --to stage1: in the wrong order"),
        (["--form=stage2", "--exclusive"], "curriculum.sh: --exclusive: unknown; see --help"),
        (["stage3"], "curriculum.sh: stage3: not KEY=VALUE"),
        (["model.hiden_size=3"], "danube: model.hiden_size=3: no such key"),
    ],
)
def test_the_chain_is_not_submitted(words: list[str], message: str, submitter: Submitter) -> None:
    refused = submitter.cluster.run(SCRIPTS / "curriculum.sh", *submitter.arguments, *words, cwd=submitter.folder)
    assert refused.returncode == 2
    assert refused.stderr.startswith(message.format(run=submitter.run_dir)), refused.stderr
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""
    assert submitter.cluster.ask("squeue", "--noheader") == ""


def test_a_dry_run_prints_what_would_be_submitted(submitter: Submitter) -> None:
    command = [str(SCRIPTS / "curriculum.sh"), "--dry-run", "--from", "stage1", "--to", "stage2", "--time=30"]
    shown = submitter.cluster.run(*command, *submitter.arguments, cwd=submitter.folder)
    assert shown.returncode == 0, shown.stderr
    first, second = shown.stdout.splitlines()
    assert first.startswith("sbatch --parsable '--nodes=1' '--ntasks-per-node=2' '--gpus-per-node=0' ")
    assert "'--time=30'" in first
    assert f"'{SCRIPTS}/stage1.sh' '--config-name' 'danube_rehearsal'" in first
    assert "'--dependency=afterok:JOB_OF_stage1' '--kill-on-invalid-dep=yes'" in second
    assert shown.stderr.count("to start at") == 2
    assert submitter.cluster.ask("squeue", "--noheader") == ""


def test_tasks_that_do_not_fit_the_config(submitter: Submitter) -> None:
    job = submitter.sbatch("stage1.sh", "trainer.num_nodes=2", "trainer.devices=1")
    assert submitter.cluster.wait(job) == "FAILED"
    log = submitter.log(job)
    assert "2 on node" in log
    assert "trainer.num_nodes=2, trainer.devices=1, but there are 2 on node" in log
    assert "tokens/s" not in log
    job = submitter.sbatch("stage1.sh", "trainer.devices=1")
    assert submitter.cluster.wait(job) == "FAILED"
    assert "submit with sbatch --nodes=1 --ntasks-per-node=1 --gpus-per-node=0" in submitter.log(job)
    assert submitter.cluster.job(job)["ExitCode"] == "2:0"


def test_the_partition_of_the_site_was_not_used(submitter: Submitter) -> None:
    site = submitter.folder / "site.env"
    site.write_text(site.read_text() + "export SBATCH_PARTITION=preemptible\n")
    job = submitter.sbatch("stage1.sh", "data.dir=nosuch")
    assert submitter.cluster.wait(job) == "FAILED"
    log = submitter.log(job)
    assert f"warning: {site} has SBATCH_PARTITION=preemptible, but this job was not submitted to it" in log
    assert "danube: preflight: data: data.dir=nosuch: nothing is prepared there" in log


def test_a_container_without_pyxis(submitter: Submitter) -> None:
    plugins = submitter.cluster.plugins
    aside = plugins.with_suffix(".aside")
    submitter.site(CONTAINER_IMAGE="/images/danube.sqsh")
    if plugins.exists():
        plugins.rename(aside)
    try:
        job = submitter.sbatch("stage1.sh")
        assert submitter.cluster.wait(job) == "FAILED"
    finally:
        if aside.exists():
            aside.rename(plugins)
    assert "CONTAINER_IMAGE=/images/danube.sqsh" in submitter.log(job)
    assert "srun has no --container-image here, pyxis is missing; leave it empty to use VENV" in submitter.log(job)
    assert submitter.log(job).count("\n") == 1


def test_another_folder_than_the_repository(submitter: Submitter, tmp_path: Path) -> None:
    """A job runs Slurm's copy of the script, and finds the rest beside the original."""
    job = submitter.cluster.submit(*TASKS, "--output=%j.log", SCRIPTS / "stage1.sh", "nonsense", cwd=tmp_path)
    assert submitter.cluster.wait(job) == "FAILED"
    assert "danube: nonsense: not KEY=VALUE" in submitter.log(job)
