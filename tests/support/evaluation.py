"""Evaluation data that is the same on every Python, and what the harness of the reports asked and counted over it."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from custom_modules.tasks.data_folder import Manifest, described, read_manifest, write_manifest
from custom_modules.tasks.datasets import DATA_SETS, MMLU_SUBJECTS
from data_prep.rehearsal.evaluation import write_evaluation_data

GOLDEN = Path(__file__).parents[1] / "tasks" / "golden.json.gz"

DOCUMENTS = 20
"""Of each set; MMLU has two a subject."""

GOLDEN_TASKS = (
    ("arc_easy", 0),
    ("arc_challenge", 0),
    ("arc_challenge", 10),
    ("arc_challenge", 25),
    ("boolq", 0),
    ("hellaswag", 0),
    ("hellaswag", 5),
    ("hellaswag", 10),
    ("openbookqa", 0),
    ("piqa", 0),
    ("triviaqa", 5),
    ("truthfulqa_mc2", 0),
    ("winogrande", 0),
    ("winogrande", 5),
    ("gsm8k", 5),
    ("gsm8k", 8),
    *((f"mmlu_{subject}", 5) for subject in MMLU_SUBJECTS),
)
"""The tasks of all suites, at each number of shots."""

_TEXT = (
    "river green seven quietly above stone (again) it's café “letters” under a window the baker, paints twelve maps; "
    "of old harbours & finds that every bridge has 3.5 arches and no ½ railing naïve sailors sing while snow falls"
)


def sentences(count: int = 400) -> list[str]:
    """Return sentences of made-up text, none twice."""
    source, known = random.Random(7), _TEXT.split()
    found: dict[str, None] = {}
    while len(found) < count:
        words = [known[source.randrange(len(known))] for _ in range(6 + source.randrange(8))]
        found[f"{' '.join(words).capitalize()}."] = None
    return list(found)


def write_data(folder: Path) -> None:
    """Write all sets, as a rehearsal has them."""
    write_evaluation_data(folder, sentences(), DOCUMENTS)


def golden_log_likelihood(number: int, request: int) -> float:
    """Return what a request of a document is given, in nats; some are equally good."""
    return -((7 * number + 13 * request * request) % 29) / 4 - 0.5


def golden_texts(task: str, document: Mapping[str, Any]) -> list[str]:
    """Return the generated answers that are counted for a document; none where nothing is generated."""
    if task == "gsm8k":
        right = document["answer"].partition("#### ")[2]
        return [
            f" That is right.\n#### {right}",
            f"#### {right}.",
            f"#### {right.replace(',', '')}",
            f"#### -{right}",
            f"#### {right}\n#### 5",
            f"#### 5\n#### {right}",
            "I do not know",
            "",
        ]
    if task == "triviaqa":
        value = document["answer"]["value"]
        return [f" {value}", value.upper(), f" the {value}!", f"{value} it is", f" {value}s", ""]
    return []


def changed_data(
    data: Path,
    target: Path,
    name: str,
    split: str,
    change: Callable[[pyarrow.Table], pyarrow.Table],
    revision: str = "",
) -> Path:
    """Copy a folder of sets, and change a split of one as if it had been fetched so.

    Args:
        name: the set's among the known ones.
        revision: what the manifest says of the set instead.
    """
    shutil.copytree(data, target)
    data_set = DATA_SETS[name]
    manifest = read_manifest(target)
    fetched = manifest.data[data_set.repository]
    folder = target / data_set.repository
    (path,) = fetched.configs[data_set.config][split]
    parquet.write_table(change(parquet.read_table(folder / path)), folder / path)
    again = described(folder, revision or fetched.revision, fetched.configs)
    write_manifest(target, Manifest(data={**manifest.data, data_set.repository: again}))
    return target
