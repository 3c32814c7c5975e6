"""`danube bench --search` as a command: what it tries, keeps, goes on from, refuses, and hands to a run."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from custom_modules.config.load import load_any_config, load_config
from custom_modules.plan.flops import flops_of_whole_squares, flops_per_sequence
from tests.support.commands import danube_command, environment
from tests.support.sft_samples import SFT
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
OPEN = [word for word in TINY if not word.startswith("model.micro_batch")]
"""The tiny config with micro-batches to be tried."""
ONE = [*OPEN, "trainer.devices=1"]
TWO = [*OPEN, "trainer.devices=2", "model.fsdp=false", "model.context_parallel_size=1", "model.optim.name=adamw"]
SEARCH = ["bench", "--search", "--config-name", "danube_rehearsal", "--random-tokens"]


def lines(folder: Path) -> list[dict[str, Any]]:
    """Return the records; a last line may still be written, or never have been to its end."""
    whole, _, _ = (folder / "search.jsonl").read_text().rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def named(measurements: Sequence[dict[str, Any]]) -> list[str]:
    keys = ("setting", "stage", "micro_batch_size", "granularity", "repeat")
    return [json.dumps({key: one[key] for key in keys}) for one in measurements]


def wait_for(folder: Path, count: int, process: subprocess.Popen[str]) -> None:
    """Wait until so many measurements are on the disk."""
    deadline = time.monotonic() + 120
    while not (folder / "search.jsonl").exists() or len(lines(folder)) <= count:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)


def started(*arguments: str, cwd: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        danube_command(*arguments),
        env=environment(),
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def searched(danube: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A search to its end, and what it printed."""
    folder = tmp_path_factory.mktemp("search")
    done = danube(*SEARCH, *TWO, "--json", "--output", "found", cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr
    return folder / "found", json.loads(done.stdout)


@pytest.mark.slow
def test_what_is_measured_and_found(searched: tuple[Path, dict[str, Any]]) -> None:
    """Tensor parallelism too; figures by the plan's formulas, each trial once, and nothing left beside the output."""
    folder, report = searched
    measurements = report["measurements"]
    assert lines(folder)[1:] == measurements
    assert len(set(named(measurements))) == len(measurements)
    assert {one["setting"]["model.tensor_model_parallel_size"] for one in measurements} == {1, 2}
    assert {one["stage"] for one in measurements} == {"stage1", "stage2"}
    assert all(one["timing"] and one["problem"] is None for one in measurements)
    spent = [one["spent"] for one in measurements]
    assert spent == sorted(spent)
    config = load_config("danube_rehearsal", [*TWO, *report["overrides"]])
    for row in report["rows"]:
        figures, length = row["figures"], row["seq_length"]
        each = figures["tokens_per_second"] / 2
        by_mask = flops_per_sequence(config.model, length) / length
        by_square = flops_of_whole_squares(config.model, length) / length
        assert figures["tflops_per_device"] == pytest.approx(each * by_mask / 1e12)
        assert figures["whole_square_tflops_per_device"] == pytest.approx(each * by_square / 1e12)
        assert by_square > by_mask
        assert figures["planned_memory_bytes"] > 0
    best, *others = report["settings"]
    assert all(one["tokens_per_second"] <= best["tokens_per_second"] or one["rates"] for one in others)
    left = [path.name for path in folder.parent.iterdir() if "torchinductor" not in path.name]
    assert left == ["found"]
    assert sorted(path.name for path in folder.iterdir()) == [".danube.lock", "fastest.yaml", "search.jsonl"]


@pytest.mark.slow
def test_a_run_takes_the_recipe_and_the_overrides(
    searched: tuple[Path, dict[str, Any]], danube: Callable[..., Run], prepared: Path, tmp_path: Path
) -> None:
    folder, report = searched
    recipe = load_any_config("fastest", config_dir=folder)
    assert recipe == load_config("danube_rehearsal", [*TWO, *report["overrides"]])
    words = ["--config-dir", str(folder), "--config-name", "fastest"]
    planned = danube("plan", *words, "--json")
    assert planned.returncode == 0, planned.stderr
    sizes = {stage["name"]: stage["micro_batch_size"] for stage in json.loads(planned.stdout)["stages"]}
    assert sizes == {row["stage"]: row["micro_batch_size"] for row in report["rows"]}
    where = [f"data.dir={prepared}", f"exp_manager.exp_dir={tmp_path}", "curriculum.stage=stage1"]
    trained = danube("pretrain", *words, *where, timeout=300)
    assert trained.returncode == 0, trained.stderr


@pytest.mark.slow
def test_a_finished_search_is_told_again(searched: tuple[Path, dict[str, Any]], danube: Callable[..., Run]) -> None:
    """By the same command, without a measurement: as a table here."""
    folder, report = searched
    before = (folder / "search.jsonl").read_bytes()
    done = danube(*SEARCH, *TWO, "--output", "found", cwd=folder.parent)
    assert done.returncode == 0, done.stderr
    assert (folder / "search.jsonl").read_bytes() == before
    assert done.stdout.startswith(f"{len(report['measurements'])} measurements in ")
    for row in report["rows"]:
        assert f"{row['micro_batch_size']} x {row['seq_length']} tokens" in done.stdout
    assert " ".join(report["overrides"]) in done.stdout
    assert "danube pretrain --config-dir found --config-name fastest" in done.stdout
    assert "Others on an H100" not in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words", "message"),
    [
        ({"chip": "Another"}, [], "begun on another machine: chip Another (here "),
        ({"versions": {"torch": "1.0"}}, [], "begun on another machine: danube-pretrain None (here "),
        ({}, ["model.num_layers=4"], "begun for another run: model.num_layers=2 (here 4); give that again"),
        ({}, ["model.sequence_parallel=false"], "begun for another run: keys on the command line "),
        ({}, ["--stages", "stage1"], "begun for another run: --stages [stage1,stage2] (here [stage1]); "),
    ],
)
def test_another_machine_or_run(
    change: dict[str, Any],
    words: list[str],
    message: str,
    searched: tuple[Path, dict[str, Any]],
    danube: Callable[..., Run],
    tmp_path: Path,
) -> None:
    folder = shutil.copytree(searched[0], tmp_path / "found")
    question, *others = lines(folder)
    question["machine"].update(change)
    records = "".join(json.dumps(line) + "\n" for line in (question, *others))
    (folder / "search.jsonl").write_text(records)
    refused = danube(*SEARCH, *TWO, *words, "--output", "found", cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"danube: found/search.jsonl: {message}")
    assert refused.stderr.count("\n") == 1 and "--output another folder" in refused.stderr
    assert (folder / "search.jsonl").read_text() == records


@pytest.mark.slow
def test_killed_it_goes_on(searched: tuple[Path, dict[str, Any]], danube: Callable[..., Run], tmp_path: Path) -> None:
    """What was measured stands, whole; no process outlives it; what is measured then is what was lacking."""
    arguments = [*SEARCH, *TWO, "--stages", "stage1", "--json", "--output", "found"]
    process = started(*arguments, cwd=tmp_path)
    wait_for(tmp_path / "found", 2, process)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate(timeout=60)
    psutil.wait_procs(workers, timeout=30)
    assert not [worker for worker in workers if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE]
    kept = lines(tmp_path / "found")
    with (tmp_path / "found" / "search.jsonl").open("a") as file:
        file.write('{"setting": {"model.fp8": nul')  # as a kill in the middle of a write leaves it
    done = danube(*arguments, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    measurements = json.loads(done.stdout)["measurements"]
    assert measurements[: len(kept) - 1] == kept[1:]
    assert len(set(named(measurements))) == len(measurements) >= len(kept)
    assert done.stderr.count(" tokens/s\n") == len(measurements) - len(kept) + 1


@pytest.mark.slow
def test_interrupted_it_tells_the_best_so_far(tmp_path: Path) -> None:
    """As soon as every stage is measured there is one."""
    process = started(*SEARCH, *TWO, "--output", "found", cwd=tmp_path)
    wait_for(tmp_path / "found", 2, process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert "\nAs overrides:\n" in output and (tmp_path / "found" / "fastest.yaml").is_file()


@pytest.mark.slow
def test_one_that_fails_is_a_line_and_the_search_goes_on(tmp_path: Path) -> None:
    """A process of the first setting is killed, as where memory runs out: smaller micro-batches are tried."""
    arguments = [*SEARCH, *TWO, "--stages", "stage1", "--output", "found"]
    process = started(*arguments, "--json", cwd=tmp_path)
    wait_for(tmp_path / "found", 1, process)
    psutil.Process(process.pid).children()[-1].kill()
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    failed = [one for one in json.loads(output)["measurements"] if one["problem"]]
    assert len(failed) == 1 and failed[0]["problem"].startswith("killed, ")
    assert ": killed, as the kernel does where memory runs out\n" in errors
    done = subprocess.run(
        danube_command(*arguments), env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=120
    )
    assert "\nNot measured\n" in done.stdout and "killed, as the kernel does" in done.stdout


@pytest.mark.slow
def test_memory_that_runs_out_is_a_failure_with_what_to_set(tmp_path: Path) -> None:
    """Where the system gives less than the plan may count on: logits of the largest micro-batch find no room."""
    big = ["model.vocab_size=60000", "model.global_batch_tokens=8192", "model.cross_entropy_chunk_size=null"]
    command = danube_command(*SEARCH, *ONE, *big, "--stages", "stage2", "--output", "found")
    limited = ["bash", "-c", 'ulimit -v 3000000; exec "$@"', "-", *command]
    process = subprocess.Popen(limited, env=environment(), cwd=tmp_path, stdout=-1, stderr=-1, text=True)
    wait_for(tmp_path / "found", 1, process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    first = lines(tmp_path / "found")[1]
    assert (first["micro_batch_size"], first["timing"], first["problem"]) == (128, None, "out of memory")
    assert "set curriculum.stages.stage2.micro_batch_size=" in first["advice"]
    assert f"out of memory: {first['advice']}\n" in errors
    assert errors.endswith("stopped before every stage was measured\n") and "Traceback" not in errors


@pytest.mark.slow
def test_fine_tuning(danube: Callable[..., Run], tmp_path: Path) -> None:
    words = [word for word in SFT if not word.startswith("model.micro_batch")]
    held = ["trainer.devices=1", "model.global_batch_size=4", "data.dir=nothing"]
    arguments = ["bench", "--search", "--config-name", "danube_sft_rehearsal", *words, *held, "--output", "found"]
    done = danube(*arguments, "--json", cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {one["stage"] for one in report["measurements"]} == {"sft"}
    assert len({one["micro_batch_size"] for one in report["measurements"]}) > 1
    recipe = load_any_config("fastest", config_dir=tmp_path / "found")
    assert recipe == load_any_config("danube_sft_rehearsal", [*words, *held, *report["overrides"]])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["model.ffn_hidden_size=4000000000"], "trainer.devices=1: nothing fits into the "),
        (["--minutes", "0"], "--minutes 0: give the minutes that the search may take, above 0"),
        (["--variant", "a:"], "--variant: is not for a search, which decides it"),
        (["--steps", "3"], "--steps: is not for a search, which decides it"),
        (["trainer.num_nodes=2"], "trainer.num_nodes=2: start one process per device"),
        (["model.fp8=hybrid", "trainer.precision=bf16-mixed"], "model.fp8=hybrid: "),
        (["--stages", "stage9"], "--stages stage9: no such stage; there are stage1, stage2"),
    ],
)
def test_mistakes_cost_no_time(words: list[str], message: str, danube: Callable[..., Run], tmp_path: Path) -> None:
    refused = danube(*SEARCH, *ONE, "--output", "found", *words, cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"danube: {message}")
    assert refused.stderr.count("\n") == 1 and refused.stdout == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_prepared_data_that_is_too_short(danube: Callable[..., Run], prepared: Path, tmp_path: Path) -> None:
    words = [f"data.dir={prepared}", "model.global_batch_tokens=25600"]
    refused = danube("bench", "--search", "--config-name", "danube_rehearsal", *ONE, *words, cwd=tmp_path)
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith(f"danube: data.dir={prepared}: too short to time stage1: ")
    assert "prepare more, or give --random-tokens" in refused.stderr


def test_options_of_a_search_alone(danube: Callable[..., Run]) -> None:
    refused = danube("bench", "--minutes", "3")
    assert refused.stderr == "danube: --minutes: is for a search: give --search too\n"


def test_in_processes_that_are_started_already(danube: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    refused = danube(*SEARCH, *ONE)
    assert refused.stderr.startswith("danube: --search: torchrun has started 2 processes, and a search starts its own")
