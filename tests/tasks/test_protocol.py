"""``protocol: paper`` against the harness of the reports: what it asked and counted is in ``golden.json.gz``."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from pyarrow import parquet

from custom_modules.tasks.items import Answer, Continuation, Generation, Item, Task
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import Entry, Suite
from tests.support.evaluation import DOCUMENTS, GOLDEN, GOLDEN_TASKS, golden_log_likelihood, golden_texts

_MMLU = [task for task, _ in GOLDEN_TASKS if task.startswith("mmlu_")]
_OTHERS = [(task, shots) for task, shots in GOLDEN_TASKS if task not in _MMLU]
_METRICS = {"gsm8k": "exact_match", "triviaqa": "exact_match", "truthfulqa_mc2": "mc2"}
_FORMER = {("gsm8k", "exact_match"): "acc", ("triviaqa", "exact_match"): "em"}
"""What a metric was called, where otherwise."""
_FRONT = "{}/{}-00000-of-00001.parquet"


@pytest.fixture(scope="module")
def golden() -> dict[str, list[dict[str, Any]]]:
    return json.loads(gzip.decompress(GOLDEN.read_bytes()))


def load(data: Path, name: str, shots: int, limit: int | None = 100) -> list[Task]:
    entry = Entry(task=name, num_fewshot=shots, metric=_METRICS.get(name, "acc"))
    suite = Suite(name="tests", title="", protocol="paper", entries=(entry,), averages=())
    return load_tasks(suite, data, limit)


def former_order(name: str, item: Item, requests: int) -> list[int]:
    """The places of an item's requests among the former harness's."""
    if name == "boolq":
        return [1, 0]
    return list(range(requests - len(item.requests), requests))  # TruthfulQA's mc1 came first


def check_requests(name: str, item: Item, former: Sequence[Any]) -> None:
    for place, request in zip(former_order(name, item, len(former)), item.requests, strict=True):
        context, asked = former[place]
        check_text(f"{name}, document {item.number}, request {place}, context", request.context, context)
        if isinstance(request, Continuation):
            check_text(f"{name}, document {item.number}, request {place}, continuation", request.text, asked)
        else:
            assert (list(request.until), request.max_new_tokens) == (asked["until"], 256), f"{name}: ends"


def check_text(where: str, found: str, wanted: str) -> None:
    if found != wanted:
        place = next((i for i, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), None)
        at = min(len(found), len(wanted)) if place is None else place
        raise AssertionError(f"{where}: at {at}: {found[at : at + 60]!r} is not {wanted[at : at + 60]!r}")


def check_counts(task: Task, item: Item, record: dict[str, Any], data: Path) -> None:
    if isinstance(item.requests[0], Generation):
        texts = golden_texts(task.name, rows(data, task.name)[item.number])
        given = [[Answer(text=text)] for text in texts]
    else:
        places = former_order(task.name, item, len(record["requests"]))
        given = [[Answer(log_likelihood=golden_log_likelihood(item.number, place)) for place in places]]
    assert len(given) == len(record["counts"])
    for answers, counts in zip(given, record["counts"], strict=True):
        for metric, value in task.grade(item, answers).metrics.items():
            former = counts[_FORMER.get((task.name, metric), metric)]
            assert value == pytest.approx(former, abs=1e-12), f"{task.name}, document {item.number}: {metric}"


def rows(data: Path, name: str) -> list[dict[str, Any]]:
    path = {
        "gsm8k": "openai/gsm8k/main/test",
        "triviaqa": "mandarjoshi/trivia_qa/rc.nocontext/validation",
    }[name]
    return parquet.read_table(data / f"{path}-00000-of-00001.parquet").to_pylist()


@pytest.mark.parametrize(("name", "shots"), _OTHERS)
def test_asks_and_counts_as_the_harness_of_the_reports_did(
    golden: dict[str, Any], data: Path, name: str, shots: int
) -> None:
    (task,) = load(data, name, shots)
    former = {record["number"]: record for record in golden[f"{name}@{shots}"]}
    assert [item.number for item in task.items] == sorted(former) == list(range(DOCUMENTS))
    for item in task.items:
        check_requests(name, item, former[item.number]["requests"])
        check_counts(task, item, former[item.number], data)


@pytest.mark.slow
def test_asks_mmlu_as_the_harness_of_the_reports_did(golden: dict[str, Any], data: Path) -> None:
    tasks = load(data, "mmlu", 5)
    assert sorted(task.name for task in tasks) == sorted(_MMLU)
    for task in tasks:
        assert task.group == "mmlu"
        for item, record in zip(
            task.items, sorted(golden[f"{task.name}@5"], key=lambda one: one["number"]), strict=True
        ):
            check_requests(task.name, item, record["requests"])
            check_counts(task, item, record, data)


def test_draws_examples_as_a_plain_reading_of_it_does(data: Path) -> None:
    """One generator shuffles the documents themselves, then samples each one's examples from the training rows."""
    folder = data / "openai" / "gsm8k"
    asked, training = (
        parquet.read_table(folder / _FRONT.format("main", split)).to_pylist() for split in ("test", "train")
    )
    source = random.Random(42)
    shuffled = list(asked)
    source.shuffle(shuffled)
    wanted = {}
    for document in shuffled:
        shown = [f"Question: {one['question']}\nAnswer: {one['answer']}\n\n" for one in source.sample(training, 5)]
        wanted[document["question"]] = "".join(shown) + f"Question: {document['question']}\nAnswer:"
    (task,) = load(data, "gsm8k", 5)
    assert [item.requests[0].context for item in task.items] == [wanted[document["question"]] for document in asked]


def test_a_limit_asks_a_part_of_the_same_prompts(data: Path) -> None:
    (whole,), (part,) = load(data, "arc_challenge", 10), load(data, "arc_challenge", 10, limit=6)
    assert len(part.items) == 6
    assert not part.is_whole
    assert {item.prompt_hash for item in part.items} < {item.prompt_hash for item in whole.items}
    assert [item.number for item in part.items] != list(range(6)), "the first of the shuffled ones"


@pytest.mark.parametrize(
    ("answer", "said", "is_right"),
    [
        ("#### 18", "#### 18", True),
        ("#### 18", "so it is #### 18. Then", False),
        ("#### 1,800", "#### 1800", True),
        ("#### 18", "18", False),
        ("#### -3", "#### -3", True),
        ("#### 18", "#### 18\n#### 19", True),
    ],
)
def test_counts_numbers_as_they_are_spelled(answer: str, said: str, is_right: bool) -> None:
    from custom_modules.tasks.protocol import is_exact_match

    assert is_exact_match("gsm8k", {"answer": f"Because.\n{answer}"}, said) is is_right


def test_drops_aliases_that_begin_with_another() -> None:
    from custom_modules.tasks.protocol import is_exact_match

    document = {"answer": {"aliases": ["Paris, France", "The City", "Paris"]}}
    assert is_exact_match("triviaqa", document, " the city! ")
    assert is_exact_match("triviaqa", document, "PARIS")
    assert not is_exact_match("triviaqa", document, "Paris France")
