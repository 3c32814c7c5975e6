"""`danube evaluate`: the same figures however they come about, and a line for what cannot be."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from custom_modules.cli import main
from custom_modules.errors import UserError
from custom_modules.evaluation.evaluate import evaluate
from custom_modules.evaluation.ledger import entries
from custom_modules.evaluation.request import Request
from custom_modules.evaluation.results import read_results
from custom_modules.evaluation.subject import open_subject
from custom_modules.scoring.log import LOG
from tests.support.commands import run_danube
from tests.support.evaluated import Evaluated, own_items, samples, write_items


def evaluated_folder(evaluated: Evaluated, output: Path, **more: Any) -> Path:
    """Evaluate the export, or another model, in this process."""
    plain: dict[str, Any] = {
        "suite": str(evaluated.items),
        "data": evaluated.data,
        "output": output,
        "protocol": None,
        "only": None,
        "limit": None,
        "chat_template": False,
        "batch_size": 8,
        "accelerator": "cpu",
        "overrides": [],
    }
    model = more.pop("model", evaluated.export)
    [found] = evaluate(open_subject(model, True), [Request(**{**plain, **more})], lambda: 0)
    return found


@pytest.fixture(scope="module")
def own(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The own items' evaluation."""
    return evaluated_folder(evaluated, tmp_path_factory.mktemp("own") / "out")


@pytest.mark.parametrize("batch_size", [1, 32])
def test_same_bits_with_other_batch_sizes(evaluated: Evaluated, own: Path, tmp_path: Path, batch_size: int) -> None:
    assert samples(evaluated_folder(evaluated, tmp_path / "out", batch_size=batch_size)) == samples(own)


def test_same_bits_beside_other_items(evaluated: Evaluated, own: Path, tmp_path: Path) -> None:
    known = {sample["prompt_hash"]: sample for sample in samples(own)}
    mixed = [*own_items(60), *own_items(50, seed=9)]
    random.Random(1).shuffle(mixed)
    found = samples(
        evaluated_folder(evaluated, tmp_path / "out", suite=str(write_items(tmp_path / "own.jsonl", mixed)))
    )
    assert len(found) == 110
    assert {sample["prompt_hash"]: sample for sample in found if sample["prompt_hash"] in known} == known


def test_goes_on_from_what_a_kill_leaves_of_the_log(evaluated: Evaluated, own: Path, tmp_path: Path) -> None:
    log = (own / LOG).read_bytes()
    source = random.Random(2)
    for number in range(4):
        output = tmp_path / str(number)
        output.mkdir()
        shutil.copy(own / "answers.settings.json", output)
        (output / LOG).write_bytes(log[: source.randrange(len(log))])
        assert samples(evaluated_folder(evaluated, output)) == samples(own)
        assert (output / LOG).stat().st_size == len(log)


@pytest.mark.slow
def test_same_bits_in_two_processes(evaluated: Evaluated, own: Path, tmp_path: Path) -> None:
    words = ["evaluate", str(evaluated.export), "--suite", str(evaluated.items), "--accelerator", "cpu"]
    done = run_danube(*words, "--devices", "2", "--output", str(tmp_path / "two"))
    assert done.returncode == 0, done.stderr
    assert samples(tmp_path / "two") == samples(own)


@pytest.fixture(scope="module")
def of_run(evaluated: Evaluated, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The own items' evaluation of a copy of the run, by one process."""
    folder = tmp_path_factory.mktemp("of_run")
    run = Path(shutil.copytree(evaluated.run, folder / "run"))
    done = run_danube("evaluate", str(run), "--suite", str(evaluated.items), "--output", str(folder / "out"))
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("layout", ["data", "pipeline_model_parallel_size", "tensor_model_parallel_size"])
def test_a_run_in_two_processes(evaluated: Evaluated, own: Path, of_run: Path, tmp_path: Path, layout: str) -> None:
    """The same bits, but for tensor parallelism, which adds up in another order."""
    override = [] if layout == "data" else [f"model.{layout}=2"]
    words = ["evaluate", str(of_run / "run"), "--suite", str(evaluated.items), "--output", str(tmp_path / "out")]
    done = run_danube(*words, "--devices", "2", *override)
    assert done.returncode == 0, done.stderr
    found, alone = samples(tmp_path / "out"), samples(of_run / "out")
    assert (found == alone) is not layout.startswith("tensor")
    for one, other, exported in zip(found, alone, samples(own), strict=True):
        assert one["answers"] == pytest.approx(other["answers"], abs=2e-4)
        assert one["answers"] == pytest.approx(exported["answers"], abs=2e-4)


@pytest.mark.slow
def test_a_run_and_its_export(evaluated: Evaluated, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(evaluated.run, run)
    words = ["evaluate", str(run), "--suite", str(evaluated.suite), "--data", str(evaluated.data), "--limit", "6"]
    refused = run_danube(*words)
    assert refused.returncode == 2 and "--export" in refused.stderr.splitlines()[-1]
    of_run = run_danube(*words, "--tasks", "arc_easy,winogrande", "--output", str(tmp_path / "out"))
    assert of_run.returncode == 0, of_run.stderr
    done = run_danube(*words, "--export")
    assert done.returncode == 0, done.stderr
    home = run / "evaluation" / evaluated.checkpoint.name
    assert (home / "export" / "config.json").is_file()
    assert done.stdout == (home / "small" / "table.md").read_text()
    found = {sample["prompt_hash"]: sample for sample in samples(home / "small")}
    assert len(found) == 18
    for sample in samples(tmp_path / "out"):
        assert sample["answers"] == pytest.approx(found[sample["prompt_hash"]]["answers"], abs=2e-4)
    results = read_results(home / "small")
    assert (results.kind, results.consumed_tokens, results.limit) == ("export", 8192, 6)
    assert [task.items for task in results.tasks] == [6, 6, 6]
    assert [entry.kind for entry in entries(run) if entry.suite == "small"] == ["run", "export"]
    before = (home / "small" / "results.json").read_bytes()
    again = run_danube(*words, "--export")
    assert again.returncode == 0 and again.stdout == done.stdout
    assert "passes" not in again.stderr and (home / "small" / "results.json").read_bytes() == before


def test_what_does_not_fit_is_counted(evaluated: Evaluated, tmp_path: Path) -> None:
    long = " ".join(["quietly above the river"] * 400)
    items = [
        {"context": long, "choices": ["A", "B"], "answer": 0},
        {"context": "A", "choices": [long, "B"], "answer": 1},
        {"context": "A", "choices": ["A", "B"], "answer": 1},
    ]
    output = evaluated_folder(evaluated, tmp_path / "out", suite=str(write_items(tmp_path / "own.jsonl", items)))
    [task] = read_results(output).tasks
    assert (task.items, task.cut, task.nothing_left) == (3, 2, 1)
    table = (output / "table.md").read_text()
    assert "Prompts cut from the left: 2 of 3" in table and "nothing left to score in full: 1 of 3" in table


def refused(evaluated: Evaluated, tmp_path: Path, **more: Any) -> str:
    with pytest.raises(UserError) as error:
        evaluated_folder(evaluated, more.pop("output", tmp_path / "out"), **more)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_refusals(evaluated: Evaluated, tmp_path: Path) -> None:
    assert "no such suite" in refused(evaluated, tmp_path, suite="danube-table9")
    assert "no task of the suite" in refused(evaluated, tmp_path, suite=str(evaluated.suite), only=["mmlu"])
    assert "no such key" in refused(evaluated, tmp_path, model=evaluated.run, overrides=["model.size=3"])
    assert "has no keys" in refused(evaluated, tmp_path, overrides=["trainer.devices=3"])
    assert "--export" in refused(evaluated, tmp_path, model=evaluated.run, chat_template=True)
    assert "--chat-template" in refused(evaluated, tmp_path, suite=str(evaluated.suite), chat_template=True, limit=3)
    assert "neither a run nor a model" in refused(evaluated, tmp_path, model=tmp_path)
    empty = tmp_path / "run" / "checkpoints"
    empty.mkdir(parents=True)
    assert "no whole checkpoint" in refused(evaluated, tmp_path, model=empty.parent)


@pytest.mark.slow
def test_a_run_in_bf16(evaluated: Evaluated, of_run: Path, tmp_path: Path) -> None:
    """It computes in what its config says, and the results name that."""
    words = ["evaluate", str(of_run / "run"), "--suite", str(evaluated.items), "trainer.precision=bf16-mixed"]
    for name, options in {"one": ["--batch-size", "1"], "two": ["--devices", "2"]}.items():
        done = run_danube(*words, "--output", str(tmp_path / name), *options)
        assert done.returncode == 0, done.stderr
        assert read_results(tmp_path / name).dtype == "bf16"
    assert samples(tmp_path / "one") == samples(tmp_path / "two") != samples(of_run / "out")
    refused = run_danube(*words[:-1], "--output", str(tmp_path / "one"))
    assert refused.returncode == 2 and "made with dtype=" in refused.stderr


def test_refusals_of_the_command_line(evaluated: Evaluated, capsys: pytest.CaptureFixture[str]) -> None:
    export = str(evaluated.export)
    for words, said in (
        ([], "which model?"),
        ([export, "--fetch"], "with a second command"),
        ([export, "--export"], "is an export already"),
        ([export, "--suite", "all", "--output", "out"], "--output out"),
        ([str(evaluated.data)], "neither a run nor a model"),
    ):
        assert main(["evaluate", "--suite", "danube-table1", *words]) == 2
        [line] = capsys.readouterr().err.splitlines()
        assert said in line
    with pytest.raises(SystemExit):
        main(["evaluate", export, "--suite", "danube-table1", "--protocol", "old"])
    assert "invalid choice: 'old'" in capsys.readouterr().err


@pytest.fixture
def export(evaluated: Evaluated, tmp_path: Path) -> Path:
    """A copy of the export, to be changed."""
    return Path(shutil.copytree(evaluated.export, tmp_path / "export"))


def test_an_export_without_tokenizer(evaluated: Evaluated, export: Path, tmp_path: Path) -> None:
    for name in ("tokenizer.model", "tokenizer.json"):
        (export / name).unlink()
    assert "tokenizer.model nor tokenizer.json" in refused(evaluated, tmp_path, model=export)


def test_an_export_whose_tokenizers_disagree(evaluated: Evaluated, export: Path, tmp_path: Path) -> None:
    path = export / "tokenizer.json"
    content = json.loads(path.read_bytes())
    content["normalizer"] = None
    path.write_text(json.dumps(content))
    message = refused(evaluated, tmp_path, model=export)
    assert message.startswith(f"{path}: disagrees with tokenizer.model on ")


def test_results_of_other_weights(evaluated: Evaluated, own: Path, export: Path, tmp_path: Path) -> None:
    output = Path(shutil.copytree(own, tmp_path / "out"))
    weights = export / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-3] ^= 1
    weights.write_bytes(content)
    message = refused(evaluated, tmp_path, model=export, output=output)
    assert "made with weights=" in message and "--output" in message
    assert samples(output) == samples(own)


def test_weights_that_are_no_numbers(evaluated: Evaluated, export: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(export / "model.safetensors")
    tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, export / "model.safetensors", metadata={"format": "pt"})
    assert "log-likelihood of nan" in refused(evaluated, tmp_path, model=export)
