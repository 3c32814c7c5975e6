"""`slurm/sft.sh` on Slurm: a preflight before the run; stopped and requeued it ends as a run that was left alone."""

from __future__ import annotations

from pathlib import Path

from custom_modules.run_folder.starts import STARTS
from tests.support.commands import run_danube
from tests.support.runs import assert_same_run
from tests.support.sft_samples import SFT, make_base, write_conversations
from tests.support.slurm_jobs import SCRIPTS, TASKS, Submitter


def test_stopped_and_requeued(submitter: Submitter, four_stages: Path) -> None:
    cluster, folder = submitter.cluster, submitter.folder
    model = four_stages / "tokenizer" / "tokenizer.model"
    chats, base = write_conversations(folder / "chats", model), make_base(folder / "base", model)
    words = ["--config-name", "danube_sft_rehearsal", *SFT, f"data.dir={chats}", f"model.restore_from_path={base}"]
    words += [f"exp_manager.exp_dir={folder}", "trainer.devices=2", "trainer.max_epochs=4"]
    alone = run_danube("sft", *words, "exp_manager.name=alone", timeout=600)
    assert alone.returncode == 0, alone.stderr
    job = cluster.submit(*TASKS, "--output=%j.log", str(SCRIPTS / "sft.sh"), *words, "exp_manager.name=run", cwd=folder)
    saved = folder / "run" / "checkpoints"
    cluster.wait_for(lambda: any(saved.glob("tokens_*")), 300, f"a checkpoint\n{submitter.log(job)}")
    cluster.run("scancel", "--batch", "--signal=USR1", str(job))
    assert cluster.wait(job) == "COMPLETED", submitter.log(job)
    log = submitter.log(job)
    assert f"job {job} is requeued" in log and "the same command goes on" in log
    # A table before each start, which is noted in the run's folder.
    assert log.count("preflight\n  processes ") == 2
    assert (folder / "run" / STARTS).is_file()
    assert_same_run(folder / "run", folder / "alone")


def test_nothing_is_started_where_something_is_wrong(submitter: Submitter) -> None:
    cluster, folder = submitter.cluster, submitter.folder
    words = ["--config-name", "danube_sft_rehearsal", *SFT, f"data.dir={folder / 'none'}", "trainer.devices=2"]
    job = cluster.submit(
        *TASKS, "--output=%j.log", str(SCRIPTS / "sft.sh"), *words, f"exp_manager.exp_dir={folder}", cwd=folder
    )
    assert cluster.wait(job) == "FAILED"
    log = submitter.log(job)
    assert "preflight: data: data.dir=" in log and "nothing is prepared there" in log
    assert "beginning with the weights" not in log
