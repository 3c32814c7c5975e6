"""EleutherAI's harness: its tasks over plain folders, with the protocol's differences. Nothing else here imports it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from custom_modules.errors import UserError
from custom_modules.evaluation.tasks import protocol as paper
from custom_modules.evaluation.tasks.data_folder import DataFolder
from custom_modules.evaluation.tasks.datasets import DataSet, find_data_set
from custom_modules.evaluation.tasks.extra import require_library
from custom_modules.evaluation.tasks.items import Answer, Continuation, Generation, Grade, Item, Task
from custom_modules.evaluation.tasks.own_items import OwnItems
from custom_modules.evaluation.tasks.requests import is_tie, log_likelihoods, prompt_hash, right_answer
from custom_modules.evaluation.tasks.suite import Entry, ProtocolName, Suite

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

_SEED = 1234
"""The library's own, for the examples of ``protocol: current``."""

_MC2 = "mc2"
"""What the old harness called the figure that the library now calls acc."""

_STRICT = "strict-match"
"""The library's filter that the leaderboard's figure is of, where a task has several."""


class ChatTemplate(Protocol):
    """Writes a conversation of ``role`` and ``content`` as one text, for a model to go on from."""

    def __call__(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str: ...


def load_tasks(
    suite: Suite,
    data: Path,
    limit: int | None = None,
    protocol: ProtocolName | None = None,
    only: Collection[str] | None = None,
    chat_template: ChatTemplate | None = None,
) -> list[Task]:
    """Return a suite's tasks in its order, a group as its leaves; items are made when they are first asked for.

    Args:
        data: the folder that the data sets were fetched into.
        limit: the most items of each leaf; with it, data of fewer documents than are known will do. None: all, and
            every split has to be whole.
        protocol: another than the suite's.
        only: names of the suite's tasks; None for all.
        chat_template: applied to every prompt; None: none, as in the reports.

    Raises:
        UserError: a task that is not in the suite, the library or the protocol, a metric that it does not have, or data
            that is missing, not what was fetched, or not of this form; or the library is not installed.
    """
    for name in only or ():
        if name not in (there := [entry.task for entry in suite.entries]):
            raise UserError(f"{name}: no task of the suite {suite.name}; there are: {', '.join(there)}")
    chosen = [entry for entry in suite.entries if only is None or entry.task in only]
    folder = DataFolder(data)
    settings = _Settings(folder, limit, protocol or suite.protocol, chat_template)
    return [task for entry in chosen for task in _tasks(entry, settings)]


@dataclass(frozen=True)
class _Settings:
    folder: DataFolder
    limit: int | None
    protocol: ProtocolName
    chat_template: ChatTemplate | None


def _tasks(entry: Entry, settings: _Settings) -> Iterator[Task]:
    if entry.file:
        yield OwnItems(entry, settings.limit)
        return
    for name, config in _leaves(entry.task):
        if settings.protocol == "paper" and not paper.is_known(name):
            raise UserError(f"{entry.task}: the protocol of the reports does not have this task; use protocol: current")
        yield _LibraryTask(name, entry, config, settings)


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


def _leaves(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the settings of a task, or of all tasks of a group, in the library's order."""
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


class _Splits(Mapping[str, Any]):
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


class _Chosen:
    """A sampler of the library's that gives the examples which the protocol drew."""

    def __init__(self) -> None:
        self.next: Sequence[Any] = ()

    def sample(self, n: int, **_: Any) -> Sequence[Any]:
        assert len(self.next) == n
        return self.next


@cache
def _task_class() -> Any:
    """Return the library's class of tasks, over splits that are read already."""

    class FolderTask(_library().ConfigurableTask):  # type: ignore[misc]
        def __init__(self, config: dict[str, Any], splits: _Splits, has_own_examples: bool) -> None:
            self._splits = splits
            self._has_own_examples = has_own_examples
            super().__init__(config=config)

        def download(self, *_: Any, **__: Any) -> None:
            self.dataset = self._splits

        def fewshot_docs(self) -> Any:
            return super().fewshot_docs() if self._has_own_examples else None

    return FolderTask


class _LibraryTask:
    """A leaf of the library's as `items.Task` has it."""

    def __init__(self, name: str, entry: Entry, config: dict[str, Any], settings: _Settings) -> None:
        data_set = find_data_set(config["dataset_path"], config.get("dataset_name"))
        if data_set is None:
            raise UserError(f"{name}: its data set {config['dataset_path']} is none that is known here")
        self.name, self.group = name, entry.task
        self.num_fewshot = entry.num_fewshot
        self.metric: str = entry.metric
        self.dataset = data_set.repository
        self.revision = settings.folder.revision(data_set)
        self.known_items: int | None = data_set.documents[data_set.evaluated]
        self._data_set, self._settings = data_set, settings
        self._config = {
            **config,
            **(paper.differences(name) if settings.protocol == "paper" else {}),
            "num_fewshot": entry.num_fewshot,
        }
        self._where = f"{settings.folder.folder / data_set.repository} ({data_set.config})"
        self._check_metric()
        self._check_counts()

    @property
    def is_whole(self) -> bool:
        """Whether all known documents of the split are there, and asked."""
        return len(self.items) == self.known_items

    @cached_property
    def items(self) -> Sequence[Item]:
        """The documents as items, in the split's order."""
        found = self._paper_items() if self._settings.protocol == "paper" else self._current_items()
        return sorted(found, key=lambda item: item.number)

    def grade(self, item: Item, answers: Sequence[Answer]) -> Grade:
        """Return the item's figures; answers stand in its requests' order."""
        document = self._documents[item.number]
        bits, right_bytes = right_answer(item, answers)
        if isinstance(item.requests[0], Generation):
            return Grade(self._exact_match(document, str(answers[0].text)), False, None, None)
        values = log_likelihoods(answers)
        # As it is for any shift of them; that of their exponentials alone may be 0 / 0.
        shifted = [value - max(values) for value in values] if self._is_mc2 else values
        found = self._task.process_results(document, [(value, False) for value in shifted])
        metrics = {_MC2 if self._is_mc2 else key: float(value) for key, value in found.items()}
        return Grade(metrics, self._is_tie(document, values), bits, right_bytes)

    def _check_metric(self) -> None:
        listed = [each["metric"] for each in self._config["metric_list"]]
        there = [_MC2] if self._is_mc2 else listed
        if self.metric not in there:
            raise UserError(f"{self.group}: has no metric {self.metric}; it has {', '.join(there)}")

    def _check_counts(self) -> None:
        """Make sure that the splits to be read are whole, if they have to be, and have enough for the examples."""
        splits = [self._data_set.evaluated, *([self._examples_split] if self.num_fewshot else [])]
        for split in splits:
            count, known = len(self._splits[split]), self._data_set.documents[split]
            if count != known and self._settings.limit is None:
                raise UserError(
                    f"{self._where}: split {split} has {count:,} documents, and {known:,} are known; fetch it again, "
                    "or give --limit, and the table says so"
                )
        if self.num_fewshot and self.num_fewshot > (pool := len(self._splits[self._examples_split])):
            raise UserError(
                f"{self.group}: num_fewshot={self.num_fewshot}, and {self._where} has {pool} examples; ask for fewer"
            )

    @property
    def _examples_split(self) -> str:
        names = [split for split in self._data_set.documents if split != self._data_set.evaluated]
        if not names:
            raise UserError(f"{self.group}: num_fewshot={self.num_fewshot}, and it has no examples; give 0")
        return names[0]

    @property
    def _is_mc2(self) -> bool:
        return self.name == "truthfulqa_mc2"

    @cached_property
    def _splits(self) -> _Splits:
        return _Splits(self._settings.folder, self._data_set)

    @property
    def _draws_examples(self) -> bool:
        """Whether the protocol draws them; else they are the library's, or the first ones."""
        is_first = (self._config.get("fewshot_config") or {}).get("sampler") == "first_n"
        return self._settings.protocol == "paper" and self.num_fewshot > 0 and not is_first

    @cached_property
    def _task(self) -> Any:
        has_own_examples = self.num_fewshot > 0 and not self._draws_examples
        return self._told(0, lambda: _task_class()(self._config, self._splits, has_own_examples))

    @cached_property
    def _documents(self) -> Any:
        return self._task.task_docs

    def _paper_items(self) -> Iterator[Item]:
        pool = self._splits[self._examples_split] if self._draws_examples else ()
        draws = paper.draw(len(self._documents), len(pool), self.num_fewshot, self._settings.limit)
        examples = self._examples(pool, sorted({place for drawn in draws.examples for place in drawn}))
        chosen = _Chosen()
        if self._draws_examples:
            self._task.sampler = chosen
        for number, drawn in zip(draws.order, draws.examples, strict=True):
            chosen.next = [examples[place] for place in drawn]
            yield self._item(number)

    def _examples(self, pool: Any, places: Sequence[int]) -> dict[int, Any]:
        if not places:
            return {}
        rows, process = pool.select(places), self._config.get("process_docs")
        return dict(zip(places, process(rows) if process else rows, strict=True))

    def _current_items(self) -> Iterator[Item]:
        self._task.set_fewshot_seed(_SEED)
        return (self._item(number) for number in range(len(self._documents))[: self._settings.limit])

    def _item(self, number: int) -> Item:
        document = self._documents[number]
        right = self._right(number, document)
        requests = self._told(number, lambda: tuple(self._requests(document)))
        return Item(self.name, number, requests, right, prompt_hash(requests))

    def _requests(self, document: Any) -> Iterator[Continuation | Generation]:
        template = self._settings.chat_template
        chat = {"apply_chat_template": template is not None, "chat_template": template}
        context = self._task.fewshot_context(document, self.num_fewshot, fewshot_as_multiturn=True, **chat)
        made = self._task.construct_requests(document, context, **chat)
        for instance in made if isinstance(made, list) else [made]:
            asked, answer = instance.args
            if instance.request_type == "loglikelihood":
                yield Continuation(asked, answer)
            else:
                most = answer.get("max_gen_toks", paper.MAX_NEW_TOKENS)
                yield Generation(asked, tuple(answer["until"]), most)

    def _right(self, number: int, document: Any) -> int | None:
        """Return the place of the right choice.

        Raises:
            UserError: the document's answer is none of its choices.
        """
        if self._task.OUTPUT_TYPE != "multiple_choice":
            return None
        choices = self._told(number, lambda: self._task.doc_to_choice(document))
        if self._is_mc2:
            labels = document["mc2_targets"]["labels"]
            if len(labels) != len(choices) or 1 not in labels:
                raise self._no_choice(number, labels)
            return None
        try:
            is_input = self._task.multiple_input
            found = self._task.doc_to_text(document) if is_input else self._task.doc_to_target(document)
        except Exception as error:
            raise self._no_choice(number, error) from None
        place = choices.index(found) if isinstance(found, str) and found in choices else found
        if not isinstance(place, int) or not 0 <= place < len(choices):
            raise self._no_choice(number, found)
        return place

    def _no_choice(self, number: int, found: object) -> UserError:
        return UserError(
            f"{self._where}: split {self._data_set.evaluated}, document {number}: its answer is none of its choices "
            f"({found}); fetch the set again"
        )

    def _told(self, number: int, ask: Callable[[], Any]) -> Any:
        """Return what is asked, and name the document that the library cannot take."""
        try:
            return ask()
        except UserError:
            raise
        except Exception as error:
            said = " ".join(str(error).split()) or type(error).__name__
            raise UserError(
                f"{self._where}: split {self._data_set.evaluated}, document {number}: the library cannot ask it "
                f"({said}); fetch the set again"
            ) from error

    def _is_tie(self, document: Any, values: Sequence[float]) -> bool:
        if self.metric == "acc":
            return is_tie(values)
        if self.metric == "acc_norm":
            lengths = np.array([float(len(choice)) for choice in self._task.doc_to_choice(document)])
            return is_tie((np.array(values) / lengths).tolist())
        return False

    def _exact_match(self, document: Any, text: str) -> dict[str, float]:
        if self._settings.protocol == "paper":
            return {"exact_match": float(paper.is_exact_match(self.name, document, text))}
        from lm_eval.api.instance import Instance

        answer = Instance(request_type="generate_until", doc=document, arguments=(), idx=0, resps=[text])
        self._task._instances = [answer]
        self._task.apply_filters()
        name = _STRICT if _STRICT in answer.filtered_resps else next(iter(answer.filtered_resps))
        found = self._task.process_results(document, [answer.filtered_resps[name]])
        return {key: float(value) for key, value in found.items()}
