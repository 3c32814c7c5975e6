"""An entry of a suite as `results.json` has it, from the items of its tasks."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from custom_modules.evaluation.results import Sample, TaskResult
from custom_modules.tasks.items import Grade, Task
from custom_modules.tasks.suite import ProtocolName
from custom_modules.tasks.summary import summarise_grades


def summarise(tasks: Sequence[Task], samples: Sequence[Sample], protocol: ProtocolName) -> TaskResult:
    """Sum up an entry of a suite.

    Args:
        tasks: its leaves, all of one group.
        samples: the items of all of them, in any order; those of other tasks are passed over.
        protocol: how the leaves of a group are summed up.
    """
    first = tasks[0]
    of_leaf = {
        task.name: sorted((sample for sample in samples if sample.task == task.name), key=lambda each: each.number)
        for task in tasks
    }
    every = [sample for found in of_leaf.values() for sample in found]
    summary = summarise_grades(
        {leaf: [_grade(sample) for sample in found] for leaf, found in of_leaf.items()}, first.metric, protocol
    )
    known = [task.known_items for task in tasks]
    return TaskResult(
        task=first.group,
        num_fewshot=first.num_fewshot,
        metric=first.metric,
        items=summary.items,
        known_items=None if None in known else sum(count for count in known if count is not None),
        value=summary.value,
        standard_error=summary.standard_error,
        metrics=dict(summary.metrics),
        bits_per_byte=summary.bits_per_byte,
        ties=summary.ties,
        cut=sum(sample.cut_tokens > 0 for sample in every),
        nothing_left=sum(sample.nothing_left for sample in every),
        revision=first.revision,
        prompt_hash=hashlib.sha256("".join(sample.prompt_hash for sample in every).encode()).hexdigest(),
        leaves=dict(summary.leaves),
    )


def _grade(sample: Sample) -> Grade:
    return Grade(sample.metrics, sample.is_tie, sample.bits, sample.right_bytes)
