"""A fine-tuning run is looked at as a pre-training one is: its conversations, and the weights that it begins with."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.data.conversations import Samples
from custom_modules.run_folder.starts import STARTS
from tests.cluster.test_preflight import preflight
from tests.support.commands import environment, run_danube
from tests.support.sft_samples import SFT, make_base, write_conversations

Run = subprocess.CompletedProcess[str]
ONE = "trainer.devices=1"


@pytest.fixture(scope="module")
def parts(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Prepared conversations, and a run to begin with."""
    folder = tmp_path_factory.mktemp("parts")
    model = prepared / "tokenizer" / "tokenizer.model"
    return write_conversations(folder / "chats", model), make_base(folder / "base", model)


@pytest.fixture
def words(parts: tuple[Path, Path], tmp_path: Path) -> Callable[..., list[str]]:
    """The words of a command about a run in ``tmp_path / "run"``, the command's own name first."""
    chats, base = parts
    folder = [f"data.dir={chats}", f"model.restore_from_path={base}", f"exp_manager.exp_dir={tmp_path}"]
    return lambda *more: ["sft", "--config-name", "danube_sft_rehearsal", *SFT, *folder, "exp_manager.name=run", *more]


@pytest.mark.slow
def test_what_it_looks_at(
    danube: Callable[..., Run], words: Callable[..., list[str]], parts: tuple[Path, Path], tmp_path: Path
) -> None:
    code, rows, problems = preflight(danube, words("trainer.devices=2"))
    assert (code, problems) == (0, [])
    checks = [
        "processes",
        "devices",
        "run folder",
        "data",
        "all-reduce",
        "save",
        "memory",
        "disk",
        "progress",
        "weights",
    ]
    assert list(rows) == checks
    assert all(row.startswith("ok: ") for row in rows.values())
    chats, base = parts
    assert rows["data"] == f"ok: {chats}"
    total = int(Samples(chats / "train").lengths.sum())
    assert rows["progress"] == f"ok: 0 of the {total:,} tokens that end sft"
    assert rows["weights"].startswith(f"ok: to begin with those of {base}/checkpoints/tokens_")
    # A checkpoint is kept at the end of each epoch, and two of the newest, while one more is written.
    assert " needed for 4 more checkpoint(s)" in rows["disk"]
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.slow
def test_before_and_behind_a_run(danube: Callable[..., Run], words: Callable[..., list[str]], tmp_path: Path) -> None:
    """A job's start is noted in the run's folder, where training is not in its way; a finished run says so."""
    begun = words(ONE)
    in_a_job = run_danube("preflight", *begun[1:], env={**environment(), "SLURM_JOB_ID": "7"})
    assert in_a_job.returncode == 0, in_a_job.stderr
    assert (tmp_path / "run" / STARTS).is_file()
    done = danube(*begun)
    assert done.returncode == 0, done.stderr
    code, rows, _ = preflight(danube, begun)
    assert code == 0 and rows["progress"].startswith("ok: sft is finished: ")


@pytest.mark.parametrize(
    ("override", "failed", "message"),
    [
        ("data.dir=nowhere", "data", "data: data.dir=nowhere: nothing is prepared there; run `danube prepare` first"),
        ("model.encoder_seq_length=48", "data", "data: model.encoder_seq_length=48: the samples in data.dir="),
        (
            "model.restore_from_path=null",
            "weights",
            "weights: model.restore_from_path=null: there is no model to fine-",
        ),
        ("exp_manager.checkpoint_callback_params.save_last_n=1000000000000", "disk", "disk: "),
    ],
)
def test_what_is_wrong(
    danube: Callable[..., Run], words: Callable[..., list[str]], override: str, failed: str, message: str
) -> None:
    code, rows, (problem,) = preflight(danube, words(ONE, override))
    assert code == 2
    assert [check for check, row in rows.items() if row.startswith("FAILED")] == [failed]
    assert f"preflight: {message}" in problem


def test_conversations_that_are_damaged(
    danube: Callable[..., Run], words: Callable[..., list[str]], parts: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(parts[0], tmp_path / "chats")
    (tmp_path / "chats" / "train" / "answers.idx").unlink()
    code, rows, (problem,) = preflight(danube, words(ONE, f"data.dir={tmp_path / 'chats'}"))
    assert code == 2 and rows["data"].startswith("FAILED")
    assert "answers.idx" in problem


@pytest.mark.parametrize("command", ["preflight", "bench"])
def test_other_kinds_of_run_are_refused(danube: Callable[..., Run], command: str) -> None:
    done = danube(command, "--config-name", "danube_dpo_rehearsal")
    assert done.returncode == 2
    assert done.stderr == (
        "danube: --config-name danube_dpo_rehearsal: a recipe of `danube dpo`, and this is for those of "
        "`danube pretrain` and `danube sft`\n"
    )
