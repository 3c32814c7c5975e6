"""`danube evaluate`: a suite's items answered, graded and published, as far as that is missing."""

from __future__ import annotations

import importlib.metadata
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.evaluation.cost import cost_lines, cost_of, forward_flops
from custom_modules.evaluation.ledger import note
from custom_modules.evaluation.outcome import TABLE, outcome_files
from custom_modules.evaluation.processes import Processes, processes_of
from custom_modules.evaluation.results import RESULTS, SAMPLES, Results, Sample, as_plain, read_results
from custom_modules.evaluation.score.encoding import Encoder
from custom_modules.evaluation.score.log import AnswerLog
from custom_modules.evaluation.score.scorer import Model, ModelScorer, Prepared
from custom_modules.evaluation.subject import Subject
from custom_modules.evaluation.summary import summarise
from custom_modules.evaluation.tasks.data_folder import MANIFEST
from custom_modules.evaluation.tasks.items import Answer, Continuation, Item, Task
from custom_modules.evaluation.tasks.library import load_tasks
from custom_modules.evaluation.tasks.suite import ProtocolName, Suite, load_suite
from custom_modules.files import sha256_of, whole_files
from custom_modules.folder_lock import folder_lock
from custom_modules.plan.duration import DEFAULT_GPU, DEFAULT_MFU
from custom_modules.plan.flops import find_gpu
from custom_modules.text import human_duration, say

_LIBRARIES = ("lm-eval", "torch", "transformers", "megatron-core", "tokenizers", "datasets")
_SAID_EVERY = 10.0
"""Seconds between lines that say how far it is."""


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        suite: a name or a file.
        data: where the data sets were fetched into.
        output: the results' folder; None for the usual one.
        only: names of tasks; None for all.
        batch_size: passes that are prepared at a time; no result depends on it.
        accelerator: as ``trainer.accelerator``.
        overrides: ``KEY=VALUE`` of a run's config.
    """

    suite: str
    data: Path
    output: Path | None
    protocol: ProtocolName | None
    only: Sequence[str] | None
    limit: int | None
    chat_template: bool
    batch_size: int
    accelerator: str
    overrides: Sequence[str]


def evaluate(subject: Subject, requests: Sequence[Request], stopped: Callable[[], int]) -> Iterator[Path]:
    """Do this process's share of evaluations one after the other, and yield the folder with the results of each.

    Args:
        requests: for the same devices.
        stopped: gives the number of a signal that asks for a stop, else 0; called between batches.

    Raises:
        UserError: something of the user's is not as it has to be; what was answered so far stays.
        StoppedBySignal: the same command goes on.
    """
    with processes_of(subject, requests[0].accelerator, requests[0].overrides) as processes:
        once = replace(processes, load=_loaded_once(processes.load))
        for request in requests:
            yield _evaluate(subject, request, once, stopped)


def _loaded_once(load: Callable[[Encoder], Model]) -> Callable[[Encoder], Model]:
    loaded: dict[str, Model] = {}

    def load_or_keep(encoder: Encoder) -> Model:
        if encoder.key() not in loaded:
            loaded[encoder.key()] = load(encoder)
        return loaded[encoder.key()]

    return load_or_keep


def _evaluate(subject: Subject, request: Request, processes: Processes, stopped: Callable[[], int]) -> Path:
    suite = load_suite(request.suite)
    output = request.output or subject.home / suite.name
    with ExitStack() as stack:
        work = _Work(subject, request, suite, output, processes)
        if processes.ranks.on_first(lambda: work.begin(stack)):
            return output
        prepared, encoder = work.prepared()
        if prepared.is_answered:
            answers = prepared.answers(*_known(prepared))
        else:
            model = processes.load(encoder)
            progress = _Progress(prepared, stopped, processes, output)
            scorer = ModelScorer(model, encoder, processes.ranks, work.log, request.batch_size, progress)
            answers = scorer.answer(prepared)
        processes.ranks.on_first(lambda: work.publish(prepared, answers))
    return output


def _known(prepared: Prepared) -> tuple[list[Sequence[float]], Any]:
    sums: list[Sequence[float]] = [()] * len(prepared.rows.rows)
    for number, one_pass in enumerate(prepared.rows.passes):
        for member, values in zip(one_pass.members, prepared.known_rows[number], strict=True):
            sums[member] = values
    return sums, prepared.known_texts


class _Work:
    """What the first process does beside its share: tasks, the log, the results."""

    def __init__(self, subject: Subject, request: Request, suite: Suite, output: Path, processes: Processes) -> None:
        self._subject, self._request, self._suite = subject, request, suite
        self._output, self._processes = output, processes
        self.log: AnswerLog | None = None
        self._tasks: list[Task] = []
        self._begun = time.monotonic()

    @property
    def protocol(self) -> ProtocolName:
        """The one asked for, else the suite's own."""
        return self._request.protocol or self._suite.protocol

    def begin(self, stack: ExitStack) -> bool:
        """Hold the output folder, and tell whether all is done that is asked for.

        Raises:
            UserError: the folder has results of something else, or another process holds it.
        """
        stack.enter_context(folder_lock(self._output, "--output"))
        self._subject.make()
        log = stack.enter_context(closing(AnswerLog(self._output, self._settings())))
        if self._is_done():
            self._note(read_results(self._output))  # a process may have been killed before it did
            return True
        self.log = log
        return False

    def prepared(self) -> tuple[Prepared, Encoder]:
        """Return all items, encoded on every process, with what is known of them. Collective.

        Raises:
            UserError: a task or its data is not as it has to be, or the tokenizer is not the trained one.
        """
        subject, request = self._subject, self._request
        items: list[Item] = self._processes.ranks.on_first(self._items)
        encoder = subject.encoder(request.chat_template)
        prepared = Prepared(items, encoder, subject.max_length, self._processes.shapes)

        def look_up() -> tuple[Any, Any]:
            assert self.log is not None
            prepared.look_up(self.log)
            return prepared.known_rows, prepared.known_texts

        prepared.known_rows, prepared.known_texts = self._processes.ranks.on_first(look_up)
        self._processes.ranks.on_first(lambda: self._say_cost(prepared))
        if prepared.generated_task and subject.kind == "run":
            raise UserError(
                f"{prepared.generated_task}: its answers are generated, which takes an export; give --export, and one "
                f"is made, or --tasks without it"
            )
        return prepared, encoder

    def _items(self) -> list[Item]:
        request = self._request
        template = self._subject.template() if request.chat_template else None
        self._tasks = load_tasks(
            self._suite, request.data, request.limit, request.protocol, request.only, chat_template=template
        )
        items = [item for task in self._tasks for item in task.items]
        if not request.chat_template:
            self._subject.check_tokenizer(list(_texts(items)))
        return items

    def _say_cost(self, prepared: Prepared) -> None:
        subject = self._subject
        cost = cost_of(prepared)
        flops = forward_flops(subject.parameters, cost.scored + cost.read)
        gpu = find_gpu(self._processes.device_name)
        name = gpu.name if gpu else DEFAULT_GPU
        count = self._processes.ranks.count if gpu else 1
        for line in cost_lines(self._suite.name, cost, flops, count, name, DEFAULT_MFU):
            say(line)
        passes = len(prepared.rows.passes) + len(prepared.prompts.passes)
        filled = sum(one.length * one.count for one in prepared.rows.passes)
        say(
            f"{len(prepared.items):,} items in {passes:,} passes, {filled:,} tokens with what fills them up; "
            f"{prepared.known_tokens:,} tokens are done already"
        )

    def publish(self, prepared: Prepared, answers: Sequence[tuple[Answer, ...]]) -> None:
        """Grade the items, and write the results whole.

        Raises:
            UserError: the disk refuses.
        """
        samples = list(self._samples(answers))
        groups: dict[str, list[Task]] = {}
        for task in self._tasks:
            groups.setdefault(task.group, []).append(task)
        generated = sum(answer.tokens for of_item in answers for answer in of_item if answer.text is not None)
        results = Results(
            **self._identity(),
            seconds=time.monotonic() - self._begun,
            tokens_scored=prepared.rows.tokens,
            tokens_generated=generated,
            tasks=[summarise(tasks, samples, self.protocol) for tasks in groups.values()],
        )
        lines = "".join(f"{sample.model_dump_json()}\n" for sample in samples)
        files = {SAMPLES: lines.encode(), **outcome_files(results)}
        whole_files({self._output / name: content for name, content in files.items()})
        self._note(results)

    def _note(self, results: Results) -> None:
        if self._subject.run_dir is not None:
            note(self._subject.run_dir, results)

    def _samples(self, answers: Sequence[tuple[Answer, ...]]) -> Any:
        each = iter(answers)
        for task in self._tasks:
            for item in task.items:
                found = next(each)
                grade = task.grade(item, found)
                values: Any = [answer.log_likelihood if answer.text is None else answer.text for answer in found]
                yield Sample(
                    task=task.name,
                    group=task.group,
                    number=item.number,
                    prompt_hash=item.prompt_hash,
                    answers=values,
                    metrics=dict(grade.metrics),
                    is_tie=grade.is_tie,
                    bits=grade.bits,
                    right_bytes=grade.right_bytes,
                    cut_tokens=max(answer.cut for answer in found),
                    nothing_left=any(answer.nothing_left for answer in found),
                )

    def _identity(self) -> dict[str, Any]:
        subject, request = self._subject, self._request
        return {
            "suite": self._suite.name,
            "protocol": self.protocol,
            "model": str(subject.named),
            "kind": subject.kind,
            "consumed_tokens": subject.consumed_tokens,
            "weights": subject.weights,
            "tokenizer": subject.encoder(request.chat_template).key(),
            "chat_template": request.chat_template,
            "is_chat": subject.is_chat,
            "dtype": subject.dtype,
            "device": self._processes.device_name,
            "limit": request.limit,
            "averages": self._averages(),
            "versions": self._versions(),
        }

    def _averages(self) -> dict[str, list[str]]:
        return {average.name: [*average.tasks] for average in self._suite.averages}

    def _versions(self) -> dict[str, str]:
        found = {}
        for name in _LIBRARIES:
            try:
                found[name] = importlib.metadata.version(name)
            except importlib.metadata.PackageNotFoundError:
                continue
        manifest = self._request.data / MANIFEST
        if manifest.is_file():
            found["data"] = sha256_of(manifest)
        return found

    def _settings(self) -> dict[str, Any]:
        """Return all that answers depend on beside what the model reads."""
        identity = self._identity()
        kept = ("weights", "tokenizer", "dtype", "protocol", "chat_template", "kind", "device")
        return {
            **{name: identity[name] for name in kept},
            "max_length": self._subject.max_length,
            "shapes": dict(self._processes.shapes.key()),
            "layout": dict(self._processes.layout),
            "torch": identity["versions"]["torch"],
        }

    def _is_done(self) -> bool:
        """Tell whether the results in the folder are of what is asked for, of the same data and versions."""
        if not all((self._output / name).is_file() for name in (RESULTS, SAMPLES, TABLE)):
            return False
        try:
            there = read_results(self._output)
        except UserError:
            return False
        wanted = [
            (entry.task, entry.num_fewshot, entry.metric)
            for entry in self._suite.entries
            if self._request.only is None or entry.task in self._request.only
        ]
        if any(entry.file for entry in self._suite.entries):
            return False
        found = [(task.task, task.num_fewshot, task.metric) for task in there.tasks]
        plain = as_plain(there)
        return found == wanted and all(plain[name] == value for name, value in self._identity().items())


class _Progress:
    """Says how far it is, and stops where that is asked for."""

    def __init__(self, prepared: Prepared, stopped: Callable[[], int], processes: Processes, output: Path) -> None:
        self._total = prepared.rows.tokens + prepared.prompts.tokens
        self._done = self._before = prepared.known_tokens
        self._stopped, self._ranks, self._output = stopped, processes.ranks, output
        self._begun = self._said = time.monotonic()

    def __call__(self, tokens: int) -> None:
        self._done += tokens
        now = time.monotonic()
        if self._ranks.number == 0 and now - self._said >= _SAID_EVERY and self._done < self._total:
            self._said = now
            speed = (self._done - self._before) / (now - self._begun)
            left = human_duration((self._total - self._done) / speed)
            say(f"{self._done:,} of {self._total:,} tokens, {speed:,.0f} tokens/s, about {left} left")
        number = max(self._ranks.gather(self._stopped()))
        if number and self._done < self._total:
            raise StoppedBySignal(
                f"{signal.Signals(number).name}: stopped; what is answered so far is in {self._output}, and the same "
                "command goes on"
            )


def _texts(items: Sequence[Item]) -> Any:
    """Give all that is encoded of some items, but for what is encoded together."""
    for item in items:
        for request in item.requests:
            yield request.context
            if isinstance(request, Continuation):
                yield request.text
