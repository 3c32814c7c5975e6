"""Finished evaluations on disk, of figures that a test chooses, written by the doors' own models."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from custom_modules.evaluation.results import RESULTS, SAMPLES, Results, Sample, TaskResult
from custom_modules.tasks.suite import load_suite


def _entries(suite: str) -> dict[str, tuple[int, str]]:
    return {entry.task: (entry.num_fewshot, entry.metric) for entry in load_suite(suite).entries}


ZERO_SHOT = _entries("danube-table1")
LEADERBOARD = _entries("open-llm-leaderboard")
LOKILM = _entries("lokilm-table1")
KNOWN_ITEMS = {
    "arc_challenge": 1172,
    "hellaswag": 10042,
    "mmlu": 14042,
    "truthfulqa_mc2": 817,
    "winogrande": 1267,
    "gsm8k": 1319,
}


@dataclass
class Asked:
    """An entry of a suite and what came of its items.

    Attributes:
        leaves: the metric by item, by leaf; a task of its own is its only leaf.
        bits: of the right answers, by item over all leaves; None: there are none.
    """

    task: str
    leaves: Mapping[str, Sequence[float]]
    num_fewshot: int = 0
    metric: str = "acc"
    bits: Sequence[float] | None = None
    known_items: int | None = None
    salt: str = ""
    more: dict[str, Any] = field(default_factory=dict)


def right_bytes(number: int) -> int:
    """How long the right answer of an item is."""
    return 3 + number % 7


def samples_of(asked: Asked) -> list[Sample]:
    found: list[Sample] = []
    for leaf, values in asked.leaves.items():
        for number, value in enumerate(values):
            place = len(found)
            found.append(
                Sample(
                    task=leaf,
                    group=asked.task,
                    number=number,
                    prompt_hash=hashlib.sha256(f"{leaf} {number} {asked.salt}".encode()).hexdigest(),
                    answers=[-1.0, -2.0],
                    metrics={asked.metric: float(value)},
                    is_tie=False,
                    bits=None if asked.bits is None else float(asked.bits[place]),
                    right_bytes=None if asked.bits is None else right_bytes(place),
                    cut_tokens=0,
                    nothing_left=False,
                )
            )
    return found


def result_of(asked: Asked, samples: Sequence[Sample], protocol: str) -> TaskResult:
    """The figures, each leaf counting alike under the papers' protocol."""
    leaves = {leaf: float(np.mean(values)) for leaf, values in asked.leaves.items()}
    every = np.concatenate([np.asarray(values, float) for values in asked.leaves.values()])
    value = float(np.mean([*leaves.values()]) if protocol == "paper" else every.mean())
    hashes = hashlib.sha256("".join(sample.prompt_hash for sample in samples).encode()).hexdigest()
    scored = [sample for sample in samples if sample.bits is not None and sample.right_bytes]
    total = sum(sample.right_bytes or 0 for sample in scored)
    plain: dict[str, Any] = {
        "task": asked.task,
        "num_fewshot": asked.num_fewshot,
        "metric": asked.metric,
        "items": len(samples),
        "known_items": asked.known_items,
        "value": value,
        "standard_error": float(every.std(ddof=1) / np.sqrt(len(every))) if len(every) > 1 else None,
        "metrics": {asked.metric: value},
        "bits_per_byte": sum(sample.bits or 0.0 for sample in scored) / total if scored else None,
        "ties": 0,
        "cut": 0,
        "nothing_left": 0,
        "revision": "main",
        "prompt_hash": hashes,
        "leaves": leaves if len(leaves) > 1 else {},
    }
    return TaskResult(**{**plain, **asked.more})


def results_of(tasks: Sequence[TaskResult], **more: Any) -> Results:
    plain: dict[str, Any] = {
        "suite": "mine",
        "protocol": "paper",
        "model": "exports/danube",
        "kind": "export",
        "consumed_tokens": None,
        "weights": "0" * 64,
        "tokenizer": "1" * 64,
        "chat_template": False,
        "dtype": "bf16",
        "device": "cpu",
        "limit": None,
        "seconds": 12.5,
        "tokens_scored": 1000,
        "tokens_generated": 20,
        "versions": {"lm-eval": "0.4.13"},
    }
    return Results(**{**plain, "tasks": list(tasks), **more})


def make_evaluation(folder: Path, *asked: Asked, **more: Any) -> Path:
    """Write a finished evaluation."""
    samples = [samples_of(one) for one in asked]
    protocol = more.get("protocol", "paper")
    tasks = [result_of(one, found, protocol) for one, found in zip(asked, samples, strict=True)]
    folder.mkdir(parents=True, exist_ok=True)
    lines = [sample.model_dump_json() for found in samples for sample in found]
    (folder / SAMPLES).write_text("".join(f"{line}\n" for line in lines))
    (folder / RESULTS).write_text(results_of(tasks, **more).model_dump_json(indent=1))
    return folder


def suite_results(
    entries: Mapping[str, tuple[int, str]], values: Mapping[str, float], errors: Mapping[str, float], **more: Any
) -> Results:
    """Results of a whole suite from its values and standard errors, as fractions, without items."""
    tasks = [
        TaskResult(
            task=task,
            num_fewshot=shots,
            metric=metric,
            items=KNOWN_ITEMS.get(task, 100),
            known_items=KNOWN_ITEMS.get(task),
            value=values[task],
            standard_error=errors[task],
            metrics={metric: values[task]},
            bits_per_byte=None,
            ties=0,
            cut=0,
            nothing_left=0,
            revision="main",
            prompt_hash="2" * 64,
        )
        for task, (shots, metric) in entries.items()
        if task in values
    ]
    return results_of(tasks, **more)
