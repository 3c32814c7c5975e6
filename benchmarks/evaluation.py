"""Items scored by a run's own model and by its export, against the library's own `hf` model; part of `make bench`.

All of them score the same token ids on one thread in fp32, timed by what that thread computes, and a context counts
once for continuations that differ in their last token alone, whoever computes it how often. The library's model has the
better of two batch sizes.

By itself, ``python -m benchmarks.evaluation`` prints the same.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import pydoc_data.topics
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

PAIRS = 2
DOCUMENTS = 400
BATCH_SIZES = (8, 32)
"""Of the library's model."""
CONTENDERS = ("run", "export", "library")
SHAPES = {
    "the rehearsal's model": [],
    "hidden 512 x 8 layers": ["model.hidden_size=512", "model.num_layers=8", "model.ffn_hidden_size=1408"],
}
KINDS = {
    "MMLU's kind, 5 shots, one token an answer": ("mmlu_anatomy", 5, "acc", (100, 30)),
    "HellaSwag's kind, 0 shots": ("hellaswag", 0, "acc_norm", (400, 60)),
    "ARC's kind, 10 shots": ("arc_challenge", 10, "acc_norm", (40, 0)),
}
"""Task, shots, metric, and items by shape; 0: not measured. A subject of MMLU has 246 on average."""
SAME = 2e-3
"""Nats that scores of one request may differ by, on average."""


def bench_evaluation() -> None:
    """Print tokens a second, peak memory, and seconds before the first score."""
    if importlib.util.find_spec("lm_eval") is None:
        print("\nScoring tasks: not measured, the extra eval is not installed")
        return
    print(f"\nScoring tasks, tokens a second of CPU time, one thread, fp32, median of {PAIRS} rounds run in turn")
    print(f"{'':<70}  {'a run':>9}  {'its export':>10}  {'library':>9}  a run's ratio (each round), its export's")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        _child("data", str(folder / "data"))
        for number, shape in enumerate(SHAPES):
            _child("make", str(folder / str(number)), shape)
            last = {}
            for kind, (*_, limits) in KINDS.items():
                if limits[number]:
                    last = _bench_kind(folder, number, shape, kind)
            print("  " + "; ".join(_start_of(contender, found) for contender, found in last.items()), flush=True)


def _bench_kind(folder: Path, number: int, shape: str, kind: str) -> dict[str, dict[str, Any]]:
    """Print a row; returns the last round."""
    rates: dict[str, list[float]] = {contender: [] for contender in CONTENDERS}
    found: dict[str, dict[str, Any]] = {}
    for _ in range(PAIRS):
        for contender in CONTENDERS:
            found[contender] = _child("score", str(folder), str(number), kind, contender)
            rates[contender].append(found[contender]["tokens"] / found[contender]["seconds"])
        _check_same(found)
    ratios = {
        contender: [one / other for one, other in zip(rates[contender], rates["library"], strict=True)]
        for contender in ("run", "export")
    }
    each = " ".join(f"{ratio:.2f}" for ratio in ratios["run"])
    run, export, library = (statistics.median(rates[contender]) for contender in CONTENDERS)
    print(
        f"{f'{shape}, {kind}':<70}  {run:>9,.0f}  {export:>10,.0f}  {library:>9,.0f}  "
        f"{statistics.median(ratios['run']):.2f} ({each}), {statistics.median(ratios['export']):.2f}",
        flush=True,
    )
    return found


def _check_same(found: dict[str, dict[str, Any]]) -> None:
    means = {contender: one["mean"] for contender, one in found.items()}
    if max(means.values()) - min(means.values()) > SAME:
        raise SystemExit(f"benchmarks.evaluation: the contenders' scores differ: {means}")


def _start_of(contender: str, found: dict[str, Any]) -> str:
    peak = found["peak_bytes"] / 1e6
    return f"{contender}: first score after {found['first_seconds']:.1f} s, {peak:,.0f} MB at the peak"


def _child(*arguments: str) -> dict[str, Any]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    words = [sys.executable, "-m", "benchmarks.evaluation", *arguments]
    done = subprocess.run(words, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def write_data(folder: Path) -> None:
    """Write a rehearsal's sets."""
    from data_prep.rehearsal.evaluation import sentences, write_evaluation_data

    write_evaluation_data(folder, sentences(), DOCUMENTS)


def make(folder: Path, overrides: Sequence[str]) -> None:
    """Save a run's checkpoint of weights as they are drawn, and its export."""
    from custom_modules.config.load import load_config
    from custom_modules.config.stages import Curriculum
    from custom_modules.conversion.hf_export import to_hf
    from custom_modules.files import sha256_of
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron
    from custom_modules.run_folder.progress import Progress
    from data_prep.tokenize.train_tokenizer import train_tokenizer

    import_megatron()
    from custom_modules.training.checkpoint import save_checkpoint
    from custom_modules.training.engine import Engine

    tokenizer = folder / "tokenizer" / "tokenizer.model"
    tokenizer.parent.mkdir(parents=True)
    tokenizer.write_bytes(train_tokenizer(sorted(pydoc_data.topics.topics.values()), 2048))
    config = load_config("danube_rehearsal", ["trainer.devices=1", "trainer.cpu_threads=1", *overrides])
    platform = Platform.detect(config)
    with platform.running(config):
        engine = Engine(config, Curriculum.from_config(config), platform)
        progress = Progress(consumed_tokens=8192, step=1, stage="stage1")
        save_checkpoint(engine, folder / "run", progress, tokenizer.parent, sha256_of(tokenizer), set())
    to_hf(folder / "run", folder / "export")


def score(folder: Path, shape: int, kind: str, contender: str) -> dict[str, Any]:
    """Score a kind's items, and return what was measured."""
    import torch

    from custom_modules.evaluation.processes import processes_of
    from custom_modules.evaluation.subject import open_subject
    from custom_modules.scoring.rows import Rows
    from custom_modules.scoring.scorer import score_rows
    from custom_modules.tasks.items import Item
    from custom_modules.tasks.library import load_tasks
    from custom_modules.tasks.suite import Entry, Suite

    torch.set_num_threads(1)
    task, shots, metric, limits = KINDS[kind]
    entry = Entry.model_validate({"task": task, "num_fewshot": shots, "metric": metric})
    suite = Suite(name="bench", title="bench", protocol="paper", entries=(entry,), averages=())
    tasks = load_tasks(suite, folder / "data", limit=limits[shape])
    items = [item for each in tasks for item in each.items]
    subject = open_subject(folder / str(shape) / ("run" if contender == "run" else "export"), verify_contents=False)
    encoder = subject.encoder(False)
    with processes_of(subject, "cpu", ()) as processes:
        rows = Rows(items, encoder, subject.max_length, processes.shapes)
        if contender == "library":
            return _score_by_library(subject.named, items, encoder, subject.max_length, rows.tokens)
        model = processes.load(encoder)
        one: Sequence[Item] = items[:1]
        first = Rows(one, encoder, subject.max_length, processes.shapes)
        score_rows(first, model)
        first_seconds = _since_start()
        begun = time.thread_time()
        answers = rows.answers(score_rows(rows, model))
        seconds = time.thread_time() - begun
    return _measured(rows.tokens, seconds, first_seconds, [each.log_likelihood or 0.0 for of in answers for each in of])


def _score_by_library(path: Path, items: Sequence[Any], encoder: Any, length: int, tokens: int) -> dict[str, Any]:
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    TaskManager()
    requests = [
        ((request.context, request.text), *encoder.pair(request.context, request.text))
        for item in items
        for request in item.requests
    ]
    fastest, first_seconds, found = float("inf"), 0.0, []
    for size in BATCH_SIZES:
        model: Any = HFLM(str(path), device="cpu", dtype="float32", batch_size=size, max_length=length)
        model._loglikelihood_tokens(requests[:1], disable_tqdm=True)
        first_seconds = first_seconds or _since_start()
        begun = time.thread_time()
        found = model._loglikelihood_tokens(requests, disable_tqdm=True)
        fastest = min(fastest, time.thread_time() - begun)
    return _measured(tokens, fastest, first_seconds, [value for value, _ in found])


def _measured(tokens: int, seconds: float, first_seconds: float, values: Sequence[float]) -> dict[str, Any]:
    return {
        "tokens": tokens,
        "seconds": seconds,
        "first_seconds": first_seconds,
        "peak_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "mean": statistics.fmean(values),
    }


def _since_start() -> float:
    return time.time() - psutil.Process().create_time()


def main(arguments: Sequence[str]) -> int:
    """Do a child's part, or print everything."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("part", nargs="*", help=argparse.SUPPRESS)
    part, *words = parser.parse_args(arguments).part or ["all"]
    if part == "all":
        bench_evaluation()
        return 0
    found: dict[str, Any] = {}
    if part == "data":
        write_data(Path(words[0]))
    elif part == "make":
        make(Path(words[0]), SHAPES[words[1]])
    else:
        found = score(Path(words[0]), int(words[1]), words[2], words[3])
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
