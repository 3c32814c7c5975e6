"""Makes ``golden.json.gz``: what the harness of the reports itself asks and counts, over the tests' own data.

    git clone https://github.com/EleutherAI/lm-evaluation-harness HARNESS
    git -C HARNESS checkout b281b0921b636bc36ad05c0b0b0763bd6dd43463
    PYTHONPATH=. python tests/tasks/make_golden.py HARNESS

It needs `datasets`, and of what that commit asks for only what its tasks import. None of its code is here.
"""

from __future__ import annotations

import gzip
import importlib
import json
import random
import sys
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.evaluation import GOLDEN, GOLDEN_TASKS, golden_log_likelihood, golden_texts, write_data

_HUB = {
    "ai2_arc": "allenai/ai2_arc",
    "cais/mmlu": "cais/mmlu",
    "gsm8k": "openai/gsm8k",
    "hellaswag": "Rowan/hellaswag",
    "openbookqa": "allenai/openbookqa",
    "piqa": "baber/piqa",
    "super_glue": "aps/super_glue",
    "trivia_qa": "mandarjoshi/trivia_qa",
    "truthful_qa": "truthfulqa/truthful_qa",
    "winogrande": "allenai/winogrande",
}
"""Where the sets are today that the commit knows by older names."""

_CLASSES = {
    "arc_challenge": ("arc", "ARCChallenge"),
    "arc_easy": ("arc", "ARCEasy"),
    "boolq": ("superglue", "BoolQ"),
    "gsm8k": ("gsm8k", "GradeSchoolMath8K"),
    "hellaswag": ("hellaswag", "HellaSwag"),
    "openbookqa": ("openbookqa", "OpenBookQA"),
    "piqa": ("piqa", "PiQA"),
    "triviaqa": ("triviaqa", "TriviaQA"),
    "truthfulqa_mc2": ("truthfulqa", "TruthfulQAMultipleChoice"),
    "winogrande": ("winogrande", "Winogrande"),
}
"""Module and class of each task there."""


def main(harness: Path) -> None:
    """Write the file."""
    sys.path.insert(0, str(harness))
    # Its __init__ imports every task, with all that those need.
    _stand_in("lm_eval.tasks").__path__ = [str(harness / "lm_eval" / "tasks")]
    # Gone from transformers; no task here uses it.
    for gone in ("transformers.data.metrics", "transformers.data.metrics.squad_metrics"):
        _stand_in(gone)
    import datasets

    load = datasets.load_dataset
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        write_data(data)
        datasets.load_dataset = lambda path, name=None, **_: load(
            str(data / _HUB[path]), name, cache_dir=str(Path(folder) / "cache")
        )
        golden = {f"{task}@{shots}": list(_documents(task, shots)) for task, shots in GOLDEN_TASKS}
    content = json.dumps(golden, separators=(",", ":")).encode()
    GOLDEN.write_bytes(gzip.compress(content, mtime=0))


def _stand_in(name: str) -> types.ModuleType:
    return sys.modules.setdefault(name, types.ModuleType(name))


def _task(name: str) -> Any:
    if name.startswith("mmlu_"):
        return importlib.import_module("lm_eval.tasks.hendrycks_test").create_task(name.removeprefix("mmlu_"))()
    module, class_name = _CLASSES[name]
    return getattr(importlib.import_module(f"lm_eval.tasks.{module}"), class_name)()


def _documents(name: str, shots: int) -> Iterator[dict[str, Any]]:
    """Give each document's requests and counts, in the order in which the commit's evaluator asks them."""
    task = _task(name)
    documents = list(task.test_docs() if task.has_test_docs() else task.validation_docs())
    numbered = list(enumerate(documents))
    source = random.Random()
    source.seed(42)
    source.shuffle(numbered)
    for number, document in numbered:
        context = task.fewshot_context(doc=document, num_fewshot=shots, rnd=source, description="")
        made = task.construct_requests(document, context)
        requests = [list(one.args) for one in (made if isinstance(made, tuple | list) else [made])]
        yield {"number": number, "requests": requests, "counts": _counts(task, name, number, document, len(requests))}


def _counts(task: Any, name: str, number: int, document: Any, requests: int) -> list[dict[str, float]]:
    if texts := golden_texts(name, document):
        return [_plain(task.process_results(document, [text])) for text in texts]
    return [_plain(task.process_results(document, [golden_log_likelihood(number, i) for i in range(requests)]))]


def _plain(found: Any) -> dict[str, float]:
    return {key: float(value) for key, value in found.items()}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
