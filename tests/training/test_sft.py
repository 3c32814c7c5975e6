"""`danube sft`: killed, stopped or begun with something else."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import kills
from tests.support.commands import start_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics
from tests.support.sft_samples import SAMPLES, SFT, make_base, write_conversations

Run = subprocess.CompletedProcess[str]


@pytest.fixture(scope="module")
def words(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Arguments of a run of two processes, but for its folder."""
    folder = tmp_path_factory.mktemp("chats")
    model = prepared / "tokenizer" / "tokenizer.model"
    chats, base = write_conversations(folder / "chats", model), make_base(folder / "base", model)
    data = [f"data.dir={chats}", f"model.restore_from_path={base}"]
    return ["sft", "--config-name", "danube_sft_rehearsal", *SFT, *data, "trainer.devices=2"]


@pytest.fixture(scope="module")
def undisturbed(danube: Callable[..., Run], words: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    done = danube(*words, f"exp_manager.exp_dir={folder}", "exp_manager.name=run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def of_run(folder: Path, words: list[str]) -> list[str]:
    return [*words, f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]


def wait_for(process: subprocess.Popen[str], text: str) -> None:
    assert process.stderr is not None
    assert any(text in line for line in process.stderr), text


def test_it_learns_every_sample_once(undisturbed: Path) -> None:
    train, validation = read_metrics(undisturbed), read_metrics(undisturbed, "validation")
    assert [line["step"] for line in train] == [*range(1, 14)]
    assert train[-1]["learning_rate"] == 0
    assert validation[0]["tokens"] == 0
    assert validation[-1]["loss"] < validation[0]["loss"] - 0.5
    assert (checkpoints(undisturbed)[-1] / "tokenizer" / "chat_template.jinja").is_file()


def test_status_and_report(danube: Callable[..., Run], undisturbed: Path) -> None:
    found = json.loads(danube("status", str(undisturbed), "--json").stdout)
    assert found["is_finished"] and (found["step"], found["steps"], found["samples"]) == (13, 13, SAMPLES)
    assert f"13 of 13 (100.0%): {SAMPLES} samples" in danube("status", str(undisturbed)).stdout
    assert danube("report", str(undisturbed)).returncode == 0
    page = (undisturbed / "report" / "index.html").read_text()
    assert "<h2>Data</h2>" in page and f"<td>{SAMPLES}</td>" in page


@pytest.mark.parametrize("moment", ["step 3 ", "step 8 "])
def test_kill_9(danube: Callable[..., Run], words: list[str], tmp_path: Path, undisturbed: Path, moment: str) -> None:
    process = start_danube(*of_run(tmp_path, words))
    wait_for(process, moment)
    kills.kill(process)
    resumed = danube(*of_run(tmp_path, words))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "run", undisturbed)


def test_a_stop_saves(danube: Callable[..., Run], words: list[str], tmp_path: Path, undisturbed: Path) -> None:
    process = start_danube(*of_run(tmp_path, words))
    wait_for(process, "step 2 ")
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 75
    resumed = danube(*of_run(tmp_path, words))
    assert resumed.returncode == 0 and "resuming from" in resumed.stderr, resumed.stderr
    assert read_metrics(tmp_path / "run")[-1]["loss"] == read_metrics(undisturbed)[-1]["loss"]


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.optim.lr=0.02", "model.optim.lr: 0.01 -> 0.02"),
        ("model.global_batch_size=4", "model.global_batch_size: 8 -> 4"),
    ],
)
def test_another_config_is_refused(
    danube: Callable[..., Run], words: list[str], tmp_path: Path, undisturbed: Path, override: str, message: str
) -> None:
    shutil.copytree(undisturbed, tmp_path / "run")
    done = danube(*of_run(tmp_path, words), override)
    assert done.returncode == 2 and message in done.stderr.splitlines()[-1], done.stderr


def test_other_samples_are_refused(
    danube: Callable[..., Run], words: list[str], tmp_path: Path, undisturbed: Path, prepared: Path
) -> None:
    from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
    from tests.support.sft_samples import LENGTH, conversations, encode

    model = prepared / "tokenizer" / "tokenizer.model"
    tokenizer = ChatTokenizer.from_file("sentencepiece", model)
    splits = [[encode(tokenizer, each, LENGTH) for each in conversations(101, seed)] for seed in (7, 8)]
    other = write_conversations(tmp_path / "chats", model, splits)
    shutil.copytree(undisturbed, tmp_path / "run")
    done = danube(*of_run(tmp_path, words), f"data.dir={other}")
    assert done.returncode == 2 and "trained on other samples" in done.stderr.splitlines()[-1], done.stderr
