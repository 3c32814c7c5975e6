"""Scores of a run's model in bf16: the same bits whatever stands beside an item, and those of its export."""

from __future__ import annotations

import random
import statistics
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from custom_modules.evaluation.evaluate import evaluate
from custom_modules.evaluation.request import Request
from custom_modules.evaluation.results import read_results
from custom_modules.evaluation.subject import open_subject
from tests.support.evaluated import own_items, samples, write_items
from tests.support.gpu import HAS_GPU, Machine
from tests.support.tiny import prepare

Run = subprocess.CompletedProcess[str]
Items = Sequence[Mapping[str, Any]]
LAYERS = {"transformer_engine": "model.transformer_engine=true", "local": "model.transformer_engine=false"}
COUNT, MANY = (240, 4_800) if HAS_GPU else (24, 48)
APART = 0.02
"""Of a log-likelihood, what a run's and its export's may be apart on average: bf16 has 8 bits."""


@pytest.fixture(scope="module")
def run(machine: Machine, danube: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run in bf16, trained for its steps."""
    folder = tmp_path_factory.mktemp("evaluated")
    overrides = machine.comparison
    if HAS_GPU:
        danube("prepare", "--config-name", "danube_rehearsal", *overrides, f"data.dir={folder / 'data'}")
    data = folder / "data" if HAS_GPU else prepare(folder, 700, overrides)
    folders = [f"data.dir={data}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"]
    danube("pretrain", "--config-name", "danube_rehearsal", *overrides, machine.here, *folders)
    return folder / "run"


@pytest.fixture(scope="module")
def evaluated(machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[Path]]:
    """Evaluates a model on several files of items in this process; returns a folder of results for each."""
    folder = tmp_path_factory.mktemp("results")

    def of(model: Path, every: Sequence[tuple[Items, int]], *overrides: str) -> list[Path]:
        begin = len(list(folder.glob("*.jsonl")))
        requests = [
            Request(
                suite=str(write_items(folder / f"{number}.jsonl", items)),
                data=folder,
                output=folder / str(number),
                protocol=None,
                only=None,
                limit=None,
                chat_template=False,
                batch_size=batch_size,
                accelerator=machine.accelerator,
                overrides=overrides,
            )
            for number, (items, batch_size) in enumerate(every, start=begin)
        ]
        return list(evaluate(open_subject(model, verify_contents=True), requests, lambda: 0))

    return of


def need(layers: str, request: pytest.FixtureRequest) -> str:
    """Return the override for some layers; skips what cannot be used here."""
    if layers == "transformer_engine":
        request.getfixturevalue("transformer_engine")
    return LAYERS[layers]


@pytest.mark.parametrize("layers", LAYERS)
def test_the_same_bits_beside_other_items_in_other_orders(
    evaluated: Callable[..., list[Path]], run: Path, layers: str, request: pytest.FixtureRequest
) -> None:
    items = own_items(COUNT)
    shuffled = [*items, *own_items(COUNT // 2, seed=9)]
    random.Random(1).shuffle(shuffled)
    every = [(items, 8), (shuffled, 1), (items[: COUNT // 4], 32)]
    whole, beside, few = map(samples, evaluated(run, every, need(layers, request)))
    known = {item["prompt_hash"]: item for item in whole}
    assert len(known) == COUNT
    assert {item["prompt_hash"]: item for item in beside if item["prompt_hash"] in known} == known
    assert len(few) == COUNT // 4
    assert all(known[item["prompt_hash"]] == item for item in few)


@pytest.mark.needs_gpu
@pytest.mark.parametrize("layers", LAYERS)
def test_the_same_bits_in_several_processes(
    machine: Machine, danube: Callable[..., Run], run: Path, layers: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    if machine.gpus < 2:
        pytest.skip(f"{machine.gpus} GPU here, two are needed")
    suite = write_items(tmp_path / "items.jsonl", own_items(COUNT))
    words = ["evaluate", str(run), need(layers, request), "--suite", str(suite), "--accelerator", "gpu"]
    for devices in ("1", "2"):
        danube(*words, "--output", str(tmp_path / devices), "--devices", devices)
    assert samples(tmp_path / "2") == samples(tmp_path / "1")


@pytest.mark.values
def test_a_run_scores_as_its_export_does(
    danube: Callable[..., Run],
    evaluated: Callable[..., list[Path]],
    run: Path,
    tmp_path: Path,
    print_figure: Callable[[str], None],
) -> None:
    danube("convert", "to-hf", str(run), str(tmp_path / "export"))
    items = own_items(COUNT)
    [ours], [theirs] = (evaluated(model, [(items, 8)]) for model in (run, tmp_path / "export"))
    pairs = [
        (one, other)
        for of_run, of_export in zip(samples(ours), samples(theirs), strict=True)
        for one, other in zip(of_run["answers"], of_export["answers"], strict=True)
    ]
    apart = statistics.fmean(abs(one - other) / abs(other) for one, other in pairs)
    print_figure(f"{len(pairs):,} log-likelihoods of a run and of its export, bf16: {apart:.3%} apart on average")
    assert apart < APART


def test_tokens_a_second(evaluated: Callable[..., list[Path]], run: Path, print_figure: Callable[[str], None]) -> None:
    """Of many items, less what few of them take with the model's loading."""
    few, many = map(read_results, evaluated(run, [(own_items(4), 8), (own_items(MANY, seed=3), 8)]))
    tokens = many.tokens_scored
    print_figure(f"{tokens:,} tokens scored in {many.seconds:.1f} s: {tokens / many.seconds:,.0f} tokens/s, bf16")
    assert tokens > few.tokens_scored > 0
