"""A task of the library's over plain folders: its prompts as items, as the protocol has them, and its figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from custom_modules.errors import UserError
from custom_modules.tasks import protocol as paper
from custom_modules.tasks.data_folder import DataFolder
from custom_modules.tasks.datasets import find_data_set
from custom_modules.tasks.harness import SEED, Chosen, Splits, count_generated, make_task
from custom_modules.tasks.items import Answer, Continuation, Generation, Grade, Item
from custom_modules.tasks.requests import is_tie, log_likelihoods, prompt_hash, right_answer
from custom_modules.tasks.suite import Entry, ProtocolName

_MC2 = "mc2"
"""What the old harness called the figure that the library now calls acc."""


class ChatTemplate(Protocol):
    """Writes a conversation of ``role`` and ``content`` as one text, for a model to go on from."""

    def __call__(self, messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str: ...


@dataclass(frozen=True)
class Settings:
    """What all tasks of an evaluation have in common; as `library.load_tasks` takes it."""

    folder: DataFolder
    limit: int | None
    protocol: ProtocolName
    chat_template: ChatTemplate | None


class LibraryTask:
    """A leaf of the library's as `items.Task` has it.

    Args:
        name: the leaf's.
        entry: the suite's, whose task is the leaf or its group.
        config: the library's settings of the leaf.

    Raises:
        UserError: the leaf has no such metric or not so many examples, or its data is not what has to be there.
    """

    def __init__(self, name: str, entry: Entry, config: dict[str, Any], settings: Settings) -> None:
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
        count, limit = len(self._splits[self._data_set.evaluated]), self._settings.limit
        return count == self.known_items and (limit is None or limit >= count)

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
    def _splits(self) -> Splits:
        return Splits(self._settings.folder, self._data_set)

    @property
    def _draws_examples(self) -> bool:
        """Whether the protocol draws them; else they are the library's, or the first ones."""
        is_first = (self._config.get("fewshot_config") or {}).get("sampler") == "first_n"
        return self._settings.protocol == "paper" and self.num_fewshot > 0 and not is_first

    @cached_property
    def _task(self) -> Any:
        has_own_examples = self.num_fewshot > 0 and not self._draws_examples
        return self._told(0, lambda: make_task(self._config, self._splits, has_own_examples))

    @cached_property
    def _documents(self) -> Any:
        return self._task.task_docs

    def _paper_items(self) -> Iterator[Item]:
        pool = self._splits[self._examples_split] if self._draws_examples else ()
        draws = paper.draw(len(self._documents), len(pool), self.num_fewshot, self._settings.limit)
        examples = self._examples(pool, sorted({place for drawn in draws.examples for place in drawn}))
        chosen = Chosen()
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
        self._task.set_fewshot_seed(SEED)
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
        return count_generated(self._task, document, text)
