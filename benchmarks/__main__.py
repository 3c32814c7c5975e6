"""`make bench`: the step against a plain PyTorch loop, loader, chat, tasks, the commands, conversion, a search."""

from __future__ import annotations

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from benchmarks.against_plain_loop import SHAPES
from benchmarks.chat import bench_chat
from benchmarks.conversion import bench_conversion
from benchmarks.evaluation import bench_evaluation
from benchmarks.masking import KINDS, SETTINGS
from benchmarks.search import bench_search

PAIRS = 5


def child(*arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-m", *arguments], env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def bench_training_step() -> float:
    """Prints a row per shape; returns our tokens/s at rehearsal scale."""
    print(f"\nTraining step, tokens/s, one process, one thread, fp32, median of {PAIRS} pairs run in turn")
    print(f"{'shape':>12}  {'ours':>8}  {'MistralForCausalLM':>18}  {'ratio (each pair)':<40}  CPU adapter")
    rehearsal = 0.0
    for shape in SHAPES:
        ours, peer = [], []
        for _ in range(PAIRS):
            ours.append(child("benchmarks.against_plain_loop", "ours", shape))
            peer.append(child("benchmarks.against_plain_loop", "peer", shape))
        rates = [run["tokens_per_second"] for run in ours]
        ratios = [run["tokens_per_second"] / other["tokens_per_second"] for run, other in zip(ours, peer, strict=True)]
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        adapter = f"{ours[-1]['adapter_calls']:.0f} calls, {ours[-1]['adapter_share']:.4%} of the step"
        print(
            f"{shape:>12}  {statistics.median(rates):8,.0f}  "
            f"{statistics.median(run['tokens_per_second'] for run in peer):18,.0f}  "
            f"{f'{statistics.median(ratios):.2f} ({each})':<40}  {adapter}",
            flush=True,
        )
        rehearsal = rehearsal or statistics.median(rates)
    return rehearsal


def bench_alibi() -> None:
    print(
        "\nALiBi's training step over that with rotary embeddings, CPU time of a thread, fastest of steps run in turn"
    )
    _print_ratios("benchmarks.alibi", "alibi", "rope")


def bench_distilled() -> None:
    print("\nTraining step distilled from the top 16 of three teachers over a plain one, likewise; at most 1.15")
    _print_ratios("benchmarks.distilled", "distilled", "plain")


def bench_masking() -> None:
    print(
        "\nTraining step at 4,096 tokens, documents of 400 on average that don't see each other over those that do:\n"
        "CPU time of a thread, median of pairs run in turn, at most 1; and peak memory of a process of each"
    )
    for setting in SETTINGS:
        seconds = child("benchmarks.masking", setting)["seconds"]
        ratios = [one / two for one, two in zip(seconds["masked"], seconds["plain"], strict=True)]
        masked, plain = (child("benchmarks.masking", setting, "--kinds", kind)["peak_bytes"] for kind in KINDS)
        each = " ".join(f"{ratio:.2f}" for ratio in ratios)
        print(
            f"  {setting:<22} {statistics.median(ratios):.2f} x ({each}); "
            f"{masked / 1e6:,.0f} MB, {plain / 1e6:,.0f} MB without",
            flush=True,
        )


def _print_ratios(module: str, kind: str, other: str) -> None:
    for setting, seconds in child(module).items():
        ratio = min(seconds[kind]) / min(seconds[other])
        each = " ".join(f"{one / two:.2f}" for one, two in zip(seconds[kind], seconds[other], strict=True))
        print(f"  {setting:<20} {ratio:.2f} x ({each})", flush=True)


def bench_taught(step_rate: float) -> None:
    print("\nReading distilled samples with the top 16 of three teachers, native loader; at least 10 x")
    rates: Any = child("benchmarks.taught")
    each = " ".join(f"{rate:,.0f}" for rate in rates)
    rate = statistics.median(rates)
    print(f"  {rate:,.0f} tokens/s ({each}), {rate / step_rate:,.0f} x what the step above consumes", flush=True)


def bench_loader(step_rate: float) -> None:
    print("\nLoaders alone, one process, tokens/s, median of rounds run in turn; DALI only where it is installed")
    for stage, loaders in child("benchmarks.loader").items():
        native = statistics.median(loaders["native"])
        line = f"{stage:>12}  native {native:12,.0f}, {native / step_rate:,.0f} x what the step above consumes"
        if "dali" in loaders:
            ratios = [dali / other for dali, other in zip(loaders["dali"], loaders["native"], strict=True)]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            line += (
                f"  dali {statistics.median(loaders['dali']):12,.0f}, {statistics.median(ratios):.2f} x native ({each})"
            )
        print(line, flush=True)


def bench_commands() -> None:
    print(f"\nCommands, seconds, median of {PAIRS}")
    for arguments in (["--help"], ["plan", "--config-name", "danube_1_8b"]):
        seconds = []
        for _ in range(PAIRS):
            begun = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "custom_modules.cli", *arguments], stdout=subprocess.DEVNULL, check=True
            )
            seconds.append(time.perf_counter() - begun)
        print(f"  danube {' '.join(arguments):<34} {statistics.median(seconds):.2f}")


def main() -> None:
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    step_rate = bench_training_step()
    bench_alibi()
    bench_distilled()
    bench_masking()
    bench_loader(step_rate)
    bench_taught(step_rate)
    bench_chat()
    bench_evaluation()
    bench_commands()
    bench_conversion()
    with tempfile.TemporaryDirectory() as folder:
        bench_search(Path(folder))


if __name__ == "__main__":
    main()
