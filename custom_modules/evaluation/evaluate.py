"""`danube evaluate`: a suite's items answered, graded and published, as far as that is missing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.evaluation.cost import cost_lines, cost_of, forward_flops
from custom_modules.evaluation.identity import Identity
from custom_modules.evaluation.ledger import note
from custom_modules.evaluation.outcome import TABLE, outcome_files
from custom_modules.evaluation.processes import Processes, processes_of
from custom_modules.evaluation.progress import Progress
from custom_modules.evaluation.request import Request
from custom_modules.evaluation.results import RESULTS, SAMPLES, Results, Sample, read_results
from custom_modules.evaluation.subject import Subject
from custom_modules.evaluation.summary import summarise
from custom_modules.files import whole_files
from custom_modules.folder_lock import folder_lock
from custom_modules.plan.duration import DEFAULT_GPU, DEFAULT_MFU
from custom_modules.plan.flops import find_gpu
from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.log import AnswerLog
from custom_modules.scoring.scorer import Model, ModelScorer, Prepared
from custom_modules.tasks.items import Answer, Continuation, Item, Task
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import load_suite
from custom_modules.text import say


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
        work = _Work(Identity(subject, request, suite, processes), output)
        if processes.ranks.on_first(lambda: work.begin(stack)):
            return output
        prepared, encoder = work.prepared()
        if prepared.is_answered:
            answers = prepared.known_answers()
        else:
            model = processes.load(encoder)
            progress = Progress(prepared, stopped, processes, output)
            scorer = ModelScorer(model, encoder, processes.ranks, work.log, request.batch_size, progress)
            answers = scorer.answer(prepared)
        processes.ranks.on_first(lambda: work.publish(prepared, answers))
    return output


class _Work:
    """What the first process does beside its share: tasks, the log, the results."""

    def __init__(self, identity: Identity, output: Path) -> None:
        self._identity, self._output = identity, output
        self._subject, self._request, self._processes = identity.subject, identity.request, identity.processes
        self.log: AnswerLog | None = None
        self._tasks: list[Task] = []
        self._begun = time.monotonic()

    def begin(self, stack: ExitStack) -> bool:
        """Hold the output folder, and tell whether all is done that is asked for.

        Raises:
            UserError: the folder has results of something else, or another process holds it.
        """
        stack.enter_context(folder_lock(self._output, "--output"))
        self._subject.make()
        log = stack.enter_context(closing(AnswerLog(self._output, self._identity.of_answers())))
        done = self._done()
        if done is not None:
            self._note(done)  # a process may have been killed before it did
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
            self._identity.suite, request.data, request.limit, request.protocol, request.only, chat_template=template
        )
        items = [item for task in self._tasks for item in task.items]
        if not request.chat_template:
            self._subject.check_tokenizer(list(_texts(items)))
        return items

    def _say_cost(self, prepared: Prepared) -> None:
        cost = cost_of(prepared)
        flops = forward_flops(self._subject.parameters, cost.scored + cost.read)
        gpu = find_gpu(self._processes.device_name)
        name = gpu.name if gpu else DEFAULT_GPU
        count = self._processes.world.size if gpu else 1
        for line in cost_lines(self._identity.suite.name, cost, flops, count, name, DEFAULT_MFU):
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
            **self._identity.of_results(),
            seconds=time.monotonic() - self._begun,
            tokens_scored=prepared.rows.tokens,
            tokens_generated=generated,
            tasks=[summarise(tasks, samples, self._identity.protocol) for tasks in groups.values()],
        )
        lines = "".join(f"{sample.model_dump_json()}\n" for sample in samples)
        files = {SAMPLES: lines.encode(), **outcome_files(results)}
        whole_files({self._output / name: content for name, content in files.items()})
        self._note(results)

    def _done(self) -> Results | None:
        """Return the results that are there, if they are of what is asked for."""
        if not all((self._output / name).is_file() for name in (RESULTS, SAMPLES, TABLE)):
            return None
        try:
            there = read_results(self._output)
        except UserError:
            return None
        return there if self._identity.is_of(there) else None

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


def _texts(items: Sequence[Item]) -> Any:
    """Give all that is encoded of some items, but for what is encoded together."""
    for item in items:
        for request in item.requests:
            yield request.context
            if isinstance(request, Continuation):
                yield request.text
