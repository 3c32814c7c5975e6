"""Measured steps become the figures that the plan's formulas say, whoever started the processes, and leave nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.plan.plan import StagePlan, build_plan
from custom_modules.platform.launch import free_port
from tests.support.commands import danube_command, environment, start_danube
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
SHORT = ["--warmup", "1", "--steps", "3"]


def bench(*arguments: str, base: tuple[str, ...] = (*TINY, "trainer.devices=1")) -> list[str]:
    return ["bench", "--config-name", "danube_rehearsal", *base, *arguments]


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def planned(stage: str, *overrides: str) -> StagePlan:
    plan = build_plan(load_config("danube_rehearsal", [*TINY, *overrides]))
    return next(entry for entry in plan.stages if entry.name == stage)


def check_figures(row: dict[str, Any], plan: StagePlan, peak_tflops: float | None) -> None:
    figures = row["figures"]
    seconds, tokens = figures["step_seconds"], plan.global_batch_size * plan.seq_length
    assert len(seconds) == len(figures["loader_seconds"]) == 3
    assert all(0 < wait < step for wait, step in zip(figures["loader_seconds"], seconds, strict=True))
    rate = figures["tokens_per_second"]
    assert rate == pytest.approx(tokens / median(seconds))
    assert figures["slowest_tokens_per_second"] == pytest.approx(tokens / max(seconds))
    assert figures["fastest_tokens_per_second"] == pytest.approx(tokens / min(seconds))
    each = rate / row["processes"]
    assert figures["tokens_per_second_per_device"] == pytest.approx(each)
    assert figures["flops_per_token"] == plan.flops_per_token
    assert figures["tflops_per_device"] == pytest.approx(each * plan.flops_per_token / 1e12)
    assert figures["mfu"] == (peak_tflops and pytest.approx(figures["tflops_per_device"] / peak_tflops))
    assert figures["planned_memory_bytes"] == plan.memory.total
    assert figures["memory_difference"] == pytest.approx(figures["memory_bytes"] / plan.memory.total - 1)
    assert figures["memory_bytes"] > plan.memory.total
    assert figures["loader_share"] == pytest.approx(median(figures["loader_seconds"]) / median(seconds))
    assert (figures["device"], figures["reported_tokens_per_second_per_device"]) == ("CPU", None)


@pytest.mark.slow
def test_two_variants_on_prepared_data(
    danube: Callable[..., Run], prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    before = files(prepared)
    variants = ["--variant", "one:", "--variant", "two: trainer.devices=2 trainer.peak_tflops=0.1"]
    done = danube(
        *bench(f"data.dir={prepared}", *SHORT, *variants, "--stages", "stage1", "--json"), cwd=tmp_path, timeout=300
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["warmup"], report["averages"]) == (1, {"one": None, "two": None})
    one, two = report["rows"]
    assert [(row["variant"], row["stage"], row["processes"]) for row in (one, two)] == [
        ("one", "stage1", 1),
        ("two", "stage1", 2),
    ]
    check_figures(one, planned("stage1", "trainer.devices=1"), None)
    check_figures(two, planned("stage1", "trainer.devices=2"), 0.1)
    assert {row["figures"]["data"] for row in (one, two)} == {"prepared"}
    assert files(prepared) == before
    assert [file for file in files(tmp_path) if "torchinductor" not in file] == ["tmp"]
    assert [line.split("  ")[1] for line in done.stderr.splitlines()] == [
        f"stage1, {row['variant']}: {row['figures']['tokens_per_second']:,.0f} tokens/s" for row in (one, two)
    ]


@pytest.mark.slow
def test_variants_that_cannot_be_measured_are_a_line_each(tmp_path: Path) -> None:
    """More memory than the limit for one, and FP8 on a CPU for the other."""
    huge, fp8 = "huge: model.ffn_hidden_size=4000000000", "FP8: model.fp8=hybrid trainer.precision=bf16-mixed"
    command = danube_command(*bench(*SHORT, "--stages", "stage2", "--variant", huge, "--variant", fp8))
    limited = ["bash", "-c", 'ulimit -v 100000000; exec "$@"', "-", *command]
    done = subprocess.run(limited, env=environment(), cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stdout.startswith("stage2: 64 tokens a sequence, 512 tokens a step\n  huge: out of memory\n  FP8: ")
    assert "  FP8: model.fp8=hybrid: needs an H100 and Transformer Engine; set model.fp8=null\n" in done.stdout
    assert done.stderr.splitlines()[-1] == "danube: bench: no figures of FP8 in stage2; the table says why"
    assert "Traceback" not in done.stderr
    assert "  stage2, huge: out of memory: stage2: the weights, the gradients and the optimizer's state" in done.stderr


@pytest.mark.slow
def test_in_the_processes_of_a_launcher(tmp_path: Path) -> None:
    """Where nothing is prepared; every stage, and their average."""
    base = (*TINY, "trainer.devices=2", "model.tensor_model_parallel_size=2")
    command = bench(*SHORT, "--variant", "tp2:", "--json", base=base)
    port = str(free_port())
    place = {**environment(), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    processes = [
        start_danube(
            *command,
            env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
        )
        for rank in range(2)
    ]
    (output, errors), (silence, silent_errors) = (process.communicate(timeout=300) for process in processes)
    assert [process.returncode for process in processes] == [0, 0], errors + silent_errors
    assert silence == silent_errors == ""
    report = json.loads(output)
    rows = {row["stage"]: row for row in report["rows"]}
    assert list(rows) == ["stage1", "stage2"]
    overrides = base[len(TINY) :]
    for name, row in rows.items():
        check_figures(row, planned(name, *overrides), None)
        assert row["figures"]["data"] == "random"
    trained = {name: planned(name, *overrides).trained_tokens for name in rows}
    seconds = sum(trained[name] / row["figures"]["tokens_per_second"] for name, row in rows.items())
    assert report["averages"]["tp2"] == pytest.approx(sum(trained.values()) / seconds)
    assert files(tmp_path) == []


@pytest.mark.slow
def test_every_phase_of_a_batch_that_grows(danube: Callable[..., Run], tmp_path: Path) -> None:
    ramp = "model.rampup_batch_tokens=[128,192,7000]"
    done = danube(*bench(ramp, *SHORT, "--random-tokens", "--json"), cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    plan = build_plan(load_config("danube_rehearsal", [*TINY, "trainer.devices=1", ramp]))
    phases = [(stage, phase) for stage in plan.stages for phase in stage.phases]
    assert [phase.global_batch_tokens for _, phase in phases] == [128, 320, 512]
    for row, (stage, phase) in zip(report["rows"], phases, strict=True):
        keys = ("global_batch_tokens", "micro_batch_size", "num_microbatches", "steps")
        assert [row[key] for key in ("stage", *keys)] == [stage.name, *(getattr(phase, key) for key in keys)]
        rate = row["figures"]["tokens_per_second"]
        assert rate == pytest.approx(phase.global_batch_tokens / median(row["figures"]["step_seconds"]))
    each = zip(report["rows"], phases, strict=True)
    seconds = sum(phase.steps * median(row["figures"]["step_seconds"]) for row, (_, phase) in each)
    assert report["averages"]["as configured"] == pytest.approx(plan.total_tokens / seconds)


@pytest.mark.slow
def test_stopped_in_the_middle_it_tells_what_it_has(prepared: Path, tmp_path: Path) -> None:
    """Where data is prepared, on random tokens if that is asked for."""
    long = "long: model.global_batch_tokens=5120000"
    arguments = bench(f"data.dir={prepared}", *SHORT, "--stages", "stage1", "--random-tokens", "--json")
    command = danube_command(*arguments, "--variant", "short:", "--variant", long)
    process = subprocess.Popen(
        command, env=environment(), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    assert "stage1, short: " in process.stderr.readline()
    os.kill(process.pid, signal.SIGTERM)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    (row,) = json.loads(output)["rows"]
    assert (row["variant"], row["figures"]["data"]) == ("short", "random")
    assert files(tmp_path) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "stage1,stage9"], "--stages stage9: no such stage; there are stage1, stage2"),
        (["--variant", "trainer.devices=2"], "--variant trainer.devices=2: not NAME: KEY=VALUE ...; for example"),
        (["--variant", "a:", "--variant", "a: trainer.devices=2"], "--variant a: given twice; give each a name of"),
        (["--variant", "a: trainer.device=2"], "trainer.device=2: no such key; did you mean trainer.devices?"),
        (["--variant", "a:", "--variant", "b: trainer.num_nodes=2"], "trainer.num_nodes=2: start one process per"),
        (["--steps", "0"], "--steps 0 --warmup 3: give at least 1 step, and 0 to warm up"),
    ],
)
def test_mistakes_cost_no_time(arguments: list[str], message: str, danube: Callable[..., Run], tmp_path: Path) -> None:
    refused = danube(*bench(*arguments), cwd=tmp_path)
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"danube: {message}")
    assert refused.stderr.count("\n") == 1
    assert refused.stdout == ""


def test_one_variant_in_started_processes(danube: Callable[..., Run], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("LOCAL_RANK", "0"), ("MASTER_PORT", "1")):
        monkeypatch.setenv(name, value)
    refused = danube(*bench("--variant", "a:", "--variant", "b:"))
    assert refused.stderr.startswith("danube: --variant b:: ") and refused.stderr.count("\n") == 1
