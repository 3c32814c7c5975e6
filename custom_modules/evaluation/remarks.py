"""What has to be known to read a table of an evaluation: the lines below it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from custom_modules.evaluation.figures import own_errors
from custom_modules.evaluation.published import PublishedTable, repetition
from custom_modules.evaluation.results import PAPER, Results, TaskResult
from custom_modules.tasks.data_folder import MADE_UP
from custom_modules.tasks.protocol import COMMIT

_PAPER = f"prompts, examples, answers of the Open LLM Leaderboard's harness, commit {COMMIT[:7]} (Danube, section 5)"


def table_remarks(table: PublishedTable, results: Results) -> Iterator[str]:
    """Give what is to be known of a report's table: how sure its own row is, and where it contradicts itself."""
    yield from table.remarks
    errors = own_errors(table, results)
    if errors:
        named = ", ".join(f"{heading} {error:.2f}" for heading, error in errors.items())
        yield f"Standard errors of {table.own.model}'s row, by its items: {named}."
    twice = repetition(table.suite)
    if twice is not None and any(table.name == one.name for one in twice.tables):
        where = " and ".join(one.where for one in twice.tables)
        named = ", ".join(f"{heading} {difference:.2f}" for heading, difference in twice.differences.items())
        yield f"What repeating costs: {twice.model}'s weights are in the report twice ({where}), apart by {named}."
    for misprint in table.misprints():
        yield (
            f"{misprint.average} of {misprint.model} is printed as {misprint.printed:.2f}; its row gives "
            f"{misprint.of_row:.2f}."
        )


def remarks(results: Results) -> Iterator[str]:
    """Give the lines below every table: the protocol, and what of the items was not as a reader would take it to be."""
    yield f"Protocol: {_protocol(results)}."
    made_up = [task.task for task in results.tasks if task.revision == MADE_UP]
    if made_up:
        yield f"Made up, and no figure to hold against the reports': the data of {', '.join(made_up)}."
    if results.chat_template:
        yield "Chat template: the folder's own, around every prompt. The reports' chat models were asked without one."
    elif results.is_chat:
        yield "Chat template: none, as in the reports."
    yield from _sizes(results)
    yield _counted("Prompts cut from the left", results, lambda task: task.cut)
    yield _counted("Exact ties, of which the first answer wins", results, lambda task: task.ties)
    yield _counted("Items with nothing left to score in full", results, lambda task: task.nothing_left)
    yield "± is one standard error, of the items alone: another run of the same recipe differs by more."
    tokens = "" if results.consumed_tokens is None else f" at {results.consumed_tokens:,} tokens"
    what = (
        f"{results.model}{tokens} ({results.kind}), weights {results.weights[:12]}, {results.dtype} on {results.device}"
    )
    counts = f"{results.tokens_scored:,} tokens scored and {results.tokens_generated:,} generated"
    yield f"{what}: {counts} in {results.seconds:,.0f} s."


def _protocol(results: Results) -> str:
    if all(task.known_items is None for task in results.tasks):
        return "none, the user's own items as they are"
    if results.protocol == PAPER:
        return f"paper: {_PAPER}"
    return f"{results.protocol}: the tasks of lm-eval {results.versions.get('lm-eval', '')} as they are"


def _sizes(results: Results) -> Iterator[str]:
    short = [task for task in results.tasks if task.known_items is not None and task.items < task.known_items]
    if short:
        named = ", ".join(f"{task.task} {task.items:,} of {task.known_items:,}" for task in short)
        limit = f"--limit {results.limit}" if results.limit is not None else "the data has no more"
        yield f"Not whole ({limit}): {named}. The reports' figures are of whole sets."


def _counted(what: str, results: Results, count: Callable[[TaskResult], int]) -> str:
    total, items = sum(map(count, results.tasks)), sum(task.items for task in results.tasks)
    named = ", ".join(f"{task.task} {count(task):,}" for task in results.tasks if count(task))
    return f"{what}: {total:,} of {items:,}" + (f" ({named})." if total else ".")
