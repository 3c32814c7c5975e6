"""EleutherAI's harness, lm-eval, as far as tasks need it: their settings, their class, and the filters of answers.

No other module imports it for its tasks.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.tasks.data_folder import DataFolder
from custom_modules.tasks.datasets import DataSet
from custom_modules.tasks.extra import require_library

SEED = 1234
"""The library's own, for the examples that it draws itself."""

_FOLDERS = {
    "arc_": "arc",
    "boolq": "super_glue/boolq",
    "gsm8k": "gsm8k",
    "hellaswag": "hellaswag",
    "mmlu": "mmlu/default",
    "openbookqa": "openbookqa",
    "piqa": "piqa",
    "triviaqa": "triviaqa",
    "truthfulqa": "truthfulqa",
    "winogrande": "winogrande",
}
"""Where the library has the tasks whose names begin so; all its folders together take 5 s to index."""

_STRICT = "strict-match"
"""The filter that the leaderboard's figure is of, where a task has several."""


@cache
def _library() -> Any:
    """Import the library, once, so that it says nothing and compiles a template once, not once a document.

    Raises:
        UserError: it is not installed.
    """
    require_library("evaluate")
    import datasets
    from lm_eval import utils
    from lm_eval.api import task

    datasets.disable_progress_bars()
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    utils.env.from_string = cache(utils.env.from_string)
    return task


def leaves(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the name and settings of a task, or of all tasks of a group, in the library's order.

    Raises:
        UserError: the library has no such task here, or is not installed.
    """
    task_folder = Path(_library().__file__).parents[1] / "tasks"
    folder = next((folder for begin, folder in _FOLDERS.items() if name.startswith(begin)), None)
    index = _index(task_folder / folder) if folder else {}
    if name not in index:
        raise UserError(
            f"{name}: no task here of the library's; there are those that begin with {', '.join(_FOLDERS)}, and own "
            "items as JSON lines (file: ITEMS.jsonl)"
        )
    from lm_eval.tasks._yaml_loader import load_yaml

    for leaf in _leaf_names(name, index):
        path = index[leaf].yaml_path
        assert path is not None
        yield leaf, load_yaml(path)


@cache
def _index(folder: Path) -> dict[str, Any]:
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=folder, include_defaults=False).task_index


def _leaf_names(name: str, index: Mapping[str, Any]) -> Iterator[str]:
    entry = index[name]
    if entry.kind.name == "GROUP":
        members = entry.cfg["task"]
    elif entry.kind.name == "TAG":
        members = sorted(entry.tags)
    else:
        yield name
        return
    for member in members:
        yield from _leaf_names(member, index)


class Splits(Mapping[str, Any]):
    """A data set's splits as the library takes them, each read when it is asked for."""

    def __init__(self, folder: DataFolder, data_set: DataSet) -> None:
        self._folder, self._data_set = folder, data_set
        self._read: dict[str, Any] = {}

    def __getitem__(self, split: str) -> Any:
        import datasets

        if split not in self._read:
            table = self._folder.table(self._data_set, split)
            self._read[split] = datasets.Dataset(table, fingerprint=self._folder.digest(self._data_set, split))
        return self._read[split]

    def __iter__(self) -> Iterator[str]:
        return iter(self._data_set.documents)

    def __len__(self) -> int:
        return len(self._data_set.documents)


class Chosen:
    """A sampler of the library's that gives the examples which the protocol drew."""

    def __init__(self) -> None:
        self.next: Sequence[Any] = ()

    def sample(self, n: int, **_: Any) -> Sequence[Any]:
        assert len(self.next) == n
        return self.next


def make_task(config: dict[str, Any], splits: Splits, has_own_examples: bool) -> Any:
    """Make a task of the library's over splits that are read already.

    Args:
        config: its settings, as `leaves` gives them.
        has_own_examples: whether its own sampler has the split of the examples, all of which it then reads.
    """
    return _task_class()(config, splits, has_own_examples)


@cache
def _task_class() -> Any:
    class FolderTask(_library().ConfigurableTask):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any], splits: Splits, has_own_examples: bool) -> None:
            self._splits = splits
            self._has_own_examples = has_own_examples
            super().__init__(config=config)

        def download(self, *_: Any, **__: Any) -> None:
            self.dataset = self._splits

        def fewshot_docs(self) -> Any:
            return super().fewshot_docs() if self._has_own_examples else None

    return FolderTask


def count_generated(task: Any, document: Any, text: str) -> dict[str, float]:
    """Return the figures of a generated answer, as the library filters and counts it."""
    from lm_eval.api.instance import Instance

    answer = Instance(request_type="generate_until", doc=document, arguments=(), idx=0, resps=[text])
    task._instances = [answer]
    task.apply_filters()
    name = _STRICT if _STRICT in answer.filtered_resps else next(iter(answer.filtered_resps))
    found = task.process_results(document, [answer.filtered_resps[name]])
    return {key: float(value) for key, value in found.items()}
