"""Each kind of `kill -9`, 20 times at moments spread over what a program does: 4 of them in CI, the others a campaign.

A killed program is started again by the same command, and must leave what one that was left alone has left: every
logged number and tensor of a run, every byte of a tokenizer and of what teachers say.
"""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from custom_modules.data.check import check_data
from data_prep.vocabulary.train import train_tokens
from tests.support import kills
from tests.support.commands import environment, run_danube, start_danube
from tests.support.distilled import overrides_of, prepare_distilled
from tests.support.runs import assert_same_run
from tests.support.spikes import damage
from tests.support.taught import WITH_TEXTS, prepare_taught
from tests.support.teachers import write_byte_level, write_llama
from tests.support.texts import random_texts
from tests.support.tiktoken_files import write_tiktoken
from tests.support.tiny import TINY
from tests.support.tokenizers import ENGLISH

KILLS, AT_A_TIME = 20, 4
CHAINS = [
    pytest.param(number, marks=pytest.mark.campaign if number else pytest.mark.slow)
    for number in range(KILLS // AT_A_TIME)
]
"""Each kills the same program 4 times: one in CI, all of them in a campaign."""
OFTEN = ["trainer.devices=1", "trainer.log_every_n_tokens=1", "data.max_epochs=9"]
SAVES = "exp_manager.checkpoint_callback_params"
RAMP = ["model.rampup_batch_tokens=[128,128,5000]", f"{SAVES}.every_n_train_tokens=900", f"{SAVES}.save_last_n=3"]
SPIKE = [
    "curriculum.stages.stage1.tokens=20480",
    "curriculum.stage=stage1",
    "exp_manager.loss_spike={window: 16, patience: 3, floor: 0.6}",
]
"""40 steps in the first stage, of which the 27th to 29th read what is no text."""


@dataclass(frozen=True)
class Alone:
    """What was left by a program that nobody killed."""

    folder: Path
    operations: list[str]
    """The kinds of what it did with files below its folder."""
    steps: list[int]
    """Those that a run logged."""


def start(words: Sequence[str], at: kills.KillAt) -> subprocess.Popen[str]:
    return start_danube(*words, env={**environment(), **at.environment()})


def leave_alone(words: Sequence[str], folder: Path) -> Alone:
    """Run a program to its end, and say what it did below a folder."""
    operations = folder.parent / "operations"
    process = start(words, kills.KillAt(str(folder), operations=str(operations)))
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    metrics = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()] if metrics.exists() else []
    steps = [line["step"] for line in lines if line["kind"] == "train"]
    return Alone(folder, operations.read_text().splitlines(), steps)


def go_on(words: Sequence[str]) -> None:
    done = run_danube(*words, timeout=600)
    assert done.returncode == 0, done.stderr


def parts(chain: int) -> list[float]:
    """Return where a chain's kills are, from 0 to 1: those of all chains are spread evenly."""
    return [(chain + 0.5 + KILLS // AT_A_TIME * number) / KILLS for number in range(AT_A_TIME)]


def kill_before(words: Sequence[str], folder: Path, nth: int) -> None:
    """Kill a program before the nth of the things that it does with files below its folder."""
    kills.assert_killed(start(words, kills.KillAt(str(folder), ".*", 1 + nth)))


def kill_behind(words: Sequence[str], step: int, seed: int) -> None:
    """Kill a run some time after it has logged a step."""
    process = start_danube(*words)
    assert process.stderr is not None
    assert any(f"step {step} " in line for line in process.stderr)
    time.sleep(random.Random(seed).uniform(0, 0.03))
    kills.kill(process)


def kill_a_run(words: Sequence[str], folder: Path, alone: Alone, chain: int) -> None:
    """Kill a run, by turns after a step and before a file operation, and have it go on to its end.

    A file operation is one of the first fourth of those of the whole run, which a later process reaches too.
    """
    for number, part in enumerate(parts(chain)):
        if number % 2 == 0:
            kill_behind(words, alone.steps[int(part * (len(alone.steps) - 1))], chain)
        else:
            kill_before(words, folder, int(part * len(alone.operations) / AT_A_TIME))
    go_on(words)
    assert_same_run(alone.folder, folder)


def pretraining(folder: Path, data: Path, *overrides: str) -> list[str]:
    places = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]
    return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *OFTEN, *overrides, *places]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Alone]:
    """Gives a run that was left alone; each made once."""

    @cache
    def run(data: Path, *overrides: str) -> Alone:
        folder = tmp_path_factory.mktemp("alone")
        return leave_alone(pretraining(folder, data, *overrides), folder / "run")

    return run


@pytest.mark.parametrize("chain", CHAINS)
def test_in_the_ramp(chain: int, prepared: Path, whole: Callable[..., Alone], tmp_path: Path) -> None:
    alone = whole(prepared, *RAMP)
    words = pretraining(tmp_path, prepared, *RAMP)
    kill_a_run(words, tmp_path / "run", alone, chain)


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data of two streams, with rows of two teachers and texts of a third."""
    return prepare_taught(tmp_path_factory.mktemp("taught"))


@pytest.mark.parametrize("chain", CHAINS)
def test_in_a_distilled_run(chain: int, taught: Path, whole: Callable[..., Alone], tmp_path: Path) -> None:
    alone = whole(taught, *WITH_TEXTS, *RAMP)
    words = pretraining(tmp_path, taught, *WITH_TEXTS, *RAMP)
    kill_a_run(words, tmp_path / "run", alone, chain)


@dataclass(frozen=True)
class Spiky:
    """Data with a stretch that is no text, a run on it that was killed before that, and what becomes of it alone."""

    data: Path
    begun: Path
    alone: Alone


@pytest.fixture(scope="module")
def spiky(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Spiky:
    folder = tmp_path_factory.mktemp("spiky")
    data = folder / "data"
    shutil.copytree(prepared, data)
    damage([*TINY, *OFTEN, *SPIKE, f"data.dir={data}"], range(26, 29), folder / "cache")
    words = pretraining(folder, data, *SPIKE)
    kill_behind(words, 25, seed=0)
    shutil.copytree(folder / "run", folder / "begun")
    return Spiky(data, folder / "begun", leave_alone(words, folder / "run"))


@pytest.mark.parametrize("chain", CHAINS)
def test_during_and_after_a_rollback(chain: int, spiky: Spiky, tmp_path: Path) -> None:
    """Before one of the things that it does with files in a rollback and until the checkpoints behind it, or after a
    step there."""
    operations = spiky.alone.operations
    begin = operations.index("os.rename rollbacks.jsonl")
    saved = [at for at, kind in enumerate(operations) if at > begin and kind == "os.rename checkpoints/tokens_H"]
    between = range(begin - 2, saved[1] + 1)
    words = pretraining(tmp_path, spiky.data, *SPIKE)
    for number, part in enumerate(parts(chain)):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        shutil.copytree(spiky.begun, tmp_path / "run")
        kill_before(words, tmp_path / "run", between[int(part * len(between))])
        if number == AT_A_TIME - 1:  # once more, behind it
            kill_behind(words, 31 + chain, chain)
        go_on(words)
        assert_same_run(spiky.alone.folder, tmp_path / "run")
        lists = [(folder / "rollbacks.jsonl").read_bytes() for folder in (spiky.alone.folder, tmp_path / "run")]
        assert lists[0] == lists[1]


def kill_a_program(words: Sequence[str], folder: Path, alone: Alone, chain: int) -> None:
    """Kill a program before one of its file operations, again and again, and have the same command go on."""
    for part in parts(chain):
        kill_before(words, folder, int(part * len(alone.operations) / AT_A_TIME))
    go_on(words)


@pytest.fixture(scope="module")
def pruning(tmp_path_factory: pytest.TempPathFactory) -> tuple[Callable[[Path], list[str]], Alone]:
    """The command that prunes a vocabulary into a folder, and what it did when left alone."""
    folder = tmp_path_factory.mktemp("pruning")
    vocabulary = write_tiktoken(folder / "mine.tiktoken", train_tokens(ENGLISH[:20], 1500))
    texts = [*ENGLISH, *random_texts(300)]
    (folder / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))

    def words(at: Path) -> list[str]:
        options = ["--vocab-size", "600", "--any", "--on", str(folder / "texts.jsonl"), "--workers", "1"]
        return ["prune-tokenizer", str(vocabulary), str(at / "out"), *options]

    (folder / "alone").mkdir()
    return words, leave_alone(words(folder / "alone"), folder / "alone")


@pytest.mark.parametrize("chain", CHAINS)
def test_in_prune_tokenizer(chain: int, pruning: tuple[Callable[[Path], list[str]], Alone], tmp_path: Path) -> None:
    words, alone = pruning
    work = tmp_path / "here"
    work.mkdir()
    kill_a_program(words(work), work, alone, chain)
    assert contents(work) == contents(alone.folder)


def contents(folder: Path) -> dict[str, bytes]:
    """All files but those that say which process was at work."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != ".danube.lock")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@dataclass(frozen=True)
class Teaching:
    """Data that a teacher speaks on, the end of its command, and what that did when left alone."""

    data: Path
    more: list[str]
    alone: Alone

    def words(self, folder: Path) -> list[str]:
        return teaching(folder / "data", self.more)


def teaching(data: Path, more: Sequence[str]) -> list[str]:
    return ["teach", "--config-name", "danube_rehearsal", *overrides_of(data, "trainer.devices=1"), *more]


def copy_data(data: Path, folder: Path) -> Path:
    """Copy prepared data and its tokenizer into a folder."""
    shutil.copytree(data, folder / "data")
    shutil.copy(data.parent / "tokenizer.model", folder)
    return folder / "data"


@pytest.fixture(scope="module")
def teachings(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Teaching]:
    """Gives the teaching of a kind: rows, texts, or an import of answers; each made once."""
    folder = tmp_path_factory.mktemp("teaching")
    data = prepare_distilled(folder, documents=60)
    model = str(write_llama(write_byte_level(folder / "llama"), 448))

    def answers() -> str:
        prompts, file = folder / "prompts.jsonl", folder / "answers.jsonl"
        go_on(teaching(data, ["--teacher", "api", "--prompts", str(prompts)]))
        lines = [json.loads(line) for line in prompts.read_text().splitlines()]
        file.write_text("".join(json.dumps({"hash": line["hash"], "text": line["prompt"]}) + "\n" for line in lines))
        return str(file)

    @cache
    def made(kind: str) -> Teaching:
        if kind == "rows":
            more = ["--teacher", "llama", model]
        else:
            more = ["--teacher", "api", *(["--texts", model] if kind == "texts" else ["--import", answers()])]
        more += ["--shard-tokens", "300"]
        (folder / kind).mkdir()
        copied = copy_data(data, folder / kind)
        return Teaching(data, more, leave_alone(teaching(copied, more), copied))

    return made


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.parametrize("kind", ["rows", "texts", "import"])
def test_in_teach(kind: str, chain: int, teachings: Callable[[str], Teaching], tmp_path: Path) -> None:
    made = teachings(kind)
    data = copy_data(made.data, tmp_path)
    kill_a_program(made.words(tmp_path), data, made.alone, chain)
    assert contents(data) == contents(made.alone.folder)
    assert list(check_data(data)) == []
