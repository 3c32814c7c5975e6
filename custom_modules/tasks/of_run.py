"""The tasks of ``trainer.evaluate``, as a suite without examples."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_modules.config.evaluate import EvaluateConfig
from custom_modules.errors import UserError
from custom_modules.tasks.items import Generation, Task
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import Entry, ProtocolName, Suite, load_suite, suite_names

KEY = "trainer.evaluate"
PROTOCOL: ProtocolName = "paper"


def suite_of(options: EvaluateConfig) -> Suite:
    """Return the tasks as a suite without examples, each in the metric that the suites of ours have it in."""
    entries = tuple(_entry(name) for name in options.tasks)
    return Suite(name=KEY, title=KEY, protocol=PROTOCOL, entries=entries, averages=())


def _entry(name: str) -> Entry:
    if name.endswith(".jsonl"):
        return Entry(task=Path(name).stem, metric="acc", file=Path(name))
    ours = [entry for suite in suite_names() for entry in load_suite(suite).entries if entry.task == name]
    return Entry(task=name, metric=ours[0].metric if ours else "acc")


def tasks_of(options: EvaluateConfig) -> Sequence[Task]:
    """Build the tasks' prompts.

    Raises:
        UserError: naming the key, and ``trainer.evaluate=null`` as the way without them.
    """
    try:
        tasks = load_tasks(suite_of(options), Path(options.data), limit=options.limit)
    except UserError as error:
        raise UserError(f"{KEY}: {error}; or set {KEY}=null") from None
    for task in tasks:
        if any(isinstance(request, Generation) for item in task.items for request in item.requests):
            raise UserError(
                f"{KEY}.tasks: {task.name}: texts are generated for it, which takes an export: leave it out, and give "
                "the export to `danube evaluate`"
            )
    return tasks
