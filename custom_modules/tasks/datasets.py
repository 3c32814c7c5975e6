"""The data sets that tasks are made of: where the hub has them, at which revision, and how many documents are known.

The revisions are those that the hub's ``main`` has had since it turned these sets into Parquet. The counts are the
sets' own, as their cards have them; MMLU's by subject add up to the 14,042 of its paper.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

DEFAULT = "default"
"""The hub's name of the only configuration of a set that has no others."""


@dataclass(frozen=True)
class DataSet:
    """One configuration of a data set on the hub."""

    repository: str
    config: str
    revision: str
    """A commit of the repository."""
    documents: Mapping[str, int]
    """How many there are in each split that a task reads, the evaluated one first, then that of the examples."""
    columns: tuple[str, ...]
    """What tasks read."""
    texts: tuple[str, ...]
    """What a document's question, choices and answers are in; a dot goes into a column."""

    @property
    def evaluated(self) -> str:
        """The split whose documents are asked."""
        return next(iter(self.documents))

    @property
    def is_only(self) -> bool:
        """Whether the repository has no other configuration."""
        return self.config == DEFAULT


def _arc(config: str, test: int, train: int) -> DataSet:
    return DataSet(
        repository="allenai/ai2_arc",
        config=config,
        revision="210d026faf9955653af8916fad021475a3f00453",
        documents={"test": test, "train": train},
        columns=("question", "choices", "answerKey"),
        texts=("question", "choices.text"),
    )


_MMLU = {
    "abstract_algebra": 100,
    "anatomy": 135,
    "astronomy": 152,
    "business_ethics": 100,
    "clinical_knowledge": 265,
    "college_biology": 144,
    "college_chemistry": 100,
    "college_computer_science": 100,
    "college_mathematics": 100,
    "college_medicine": 173,
    "college_physics": 102,
    "computer_security": 100,
    "conceptual_physics": 235,
    "econometrics": 114,
    "electrical_engineering": 145,
    "elementary_mathematics": 378,
    "formal_logic": 126,
    "global_facts": 100,
    "high_school_biology": 310,
    "high_school_chemistry": 203,
    "high_school_computer_science": 100,
    "high_school_european_history": 165,
    "high_school_geography": 198,
    "high_school_government_and_politics": 193,
    "high_school_macroeconomics": 390,
    "high_school_mathematics": 270,
    "high_school_microeconomics": 238,
    "high_school_physics": 151,
    "high_school_psychology": 545,
    "high_school_statistics": 216,
    "high_school_us_history": 204,
    "high_school_world_history": 237,
    "human_aging": 223,
    "human_sexuality": 131,
    "international_law": 121,
    "jurisprudence": 108,
    "logical_fallacies": 163,
    "machine_learning": 112,
    "management": 103,
    "marketing": 234,
    "medical_genetics": 100,
    "miscellaneous": 783,
    "moral_disputes": 346,
    "moral_scenarios": 895,
    "nutrition": 306,
    "philosophy": 311,
    "prehistory": 324,
    "professional_accounting": 282,
    "professional_law": 1534,
    "professional_medicine": 272,
    "professional_psychology": 612,
    "public_relations": 110,
    "security_studies": 245,
    "sociology": 201,
    "us_foreign_policy": 100,
    "virology": 166,
    "world_religions": 171,
}
"""Documents of each subject's test split."""

_MMLU_EXAMPLES = 5

MMLU_SUBJECTS = tuple(_MMLU)

DATA_SETS: Mapping[str, DataSet] = {
    "arc_easy": _arc("ARC-Easy", test=2_376, train=2_251),
    "arc_challenge": _arc("ARC-Challenge", test=1_172, train=1_119),
    "boolq": DataSet(
        repository="aps/super_glue",
        config="boolq",
        revision="3de24cf8022e94f4ee4b9d55a6f539891524d646",
        documents={"validation": 3_270, "train": 9_427},
        columns=("question", "passage", "label"),
        texts=("question", "passage"),
    ),
    "hellaswag": DataSet(
        repository="Rowan/hellaswag",
        config=DEFAULT,
        revision="218ec52e09a7e7462a5400043bb9a69a41d06b76",
        documents={"validation": 10_042, "train": 39_905},
        columns=("activity_label", "ctx_a", "ctx_b", "endings", "label"),
        texts=("ctx", "endings"),
    ),
    "openbookqa": DataSet(
        repository="allenai/openbookqa",
        config="main",
        revision="388097ea7776314e93a529163e0fea805b8a6454",
        documents={"test": 500, "train": 4_957},
        columns=("question_stem", "choices", "answerKey"),
        texts=("question_stem", "choices.text"),
    ),
    "piqa": DataSet(
        repository="baber/piqa",
        config=DEFAULT,
        revision="142f6d7367fd9877f0fb3b5734ea6a545f54cdd1",
        documents={"validation": 1_838, "train": 16_113},
        columns=("goal", "sol1", "sol2", "label"),
        texts=("goal", "sol1", "sol2"),
    ),
    "winogrande": DataSet(
        repository="allenai/winogrande",
        config="winogrande_xl",
        revision="01e74176c63542e6b0bcb004dcdea22d94fb67b5",
        documents={"validation": 1_267, "train": 40_398},
        columns=("sentence", "option1", "option2", "answer"),
        texts=("sentence", "option1", "option2"),
    ),
    "triviaqa": DataSet(
        repository="mandarjoshi/trivia_qa",
        config="rc.nocontext",
        revision="0f7faf33a3908546c6fd5b73a660e0f8ff173c2f",
        documents={"validation": 17_944, "train": 138_384},
        columns=("question", "answer"),
        texts=("question", "answer.value", "answer.aliases"),
    ),
    "truthfulqa": DataSet(
        repository="truthfulqa/truthful_qa",
        config="multiple_choice",
        revision="741b8276f2d1982aa3d5b832d3ee81ed3b896490",
        documents={"validation": 817},
        columns=("question", "mc1_targets", "mc2_targets"),
        texts=("question", "mc1_targets.choices", "mc2_targets.choices"),
    ),
    "gsm8k": DataSet(
        repository="openai/gsm8k",
        config="main",
        revision="740312add88f781978c0658806c59bc2815b9866",
        documents={"test": 1_319, "train": 7_473},
        columns=("question", "answer"),
        texts=("question", "answer"),
    ),
    **{
        f"mmlu_{subject}": DataSet(
            repository="cais/mmlu",
            config=subject,
            revision="c30699e8356da336a370243923dbaf21066bb9fe",
            documents={"test": test, "dev": _MMLU_EXAMPLES},
            columns=("question", "choices", "answer"),
            texts=("question", "choices"),
        )
        for subject, test in _MMLU.items()
    },
}
"""By a name of ours, which is the task's that they are mostly read for."""


def find_data_set(repository: str, config: str | None) -> DataSet | None:
    """Return the known set that a task names, or None."""
    wanted = (repository, config or DEFAULT)
    return next((each for each in DATA_SETS.values() if (each.repository, each.config) == wanted), None)


def data_sets_of(task: str) -> list[DataSet]:
    """Return the known sets that a task of the library, or a group, is made of; none for another task."""
    if task.startswith("mmlu") and task not in DATA_SETS:
        return [each for name, each in DATA_SETS.items() if name.startswith("mmlu_")]
    return [each for name, each in DATA_SETS.items() if task == name or task.startswith(f"{name}_")]


def texts_of(data_set: DataSet, document: Mapping[str, Any]) -> list[str]:
    """Return a document's question, choices and answers, as `DataSet.texts` names them, none twice.

    Where a blank is asked for, the sentence is there with the right answer in it, too, as others may have it.
    """
    found = [text for path in data_set.texts for text in _strings(document, path.split("."))]
    if data_set is DATA_SETS["winogrande"]:
        found.append(document["sentence"].replace("_", str(document.get(f"option{document['answer']}"))))
    return list(dict.fromkeys(text for text in found if text.strip()))


def _strings(value: Any, path: Sequence[str]) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        if path and path[0] in value:
            yield from _strings(value[path[0]], path[1:])
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _strings(inner, path)
