"""The library's tasks over plain folders: what is asked, how it is graded, and which data are refused."""

from __future__ import annotations

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest

from custom_modules.errors import UserError
from custom_modules.tasks.data_folder import MADE_UP
from custom_modules.tasks.datasets import DATA_SETS
from custom_modules.tasks.items import Answer, Continuation, Generation, Task
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import Entry, ProtocolName, Suite, load_suite
from tests.support.evaluation import DOCUMENTS, changed_data

LIMIT = 100


def entry(task: str, shots: int = 0, metric: str = "acc") -> Entry:
    return Entry.model_validate({"task": task, "num_fewshot": shots, "metric": metric})


def load(
    data: Path,
    *entries: Entry,
    protocol: ProtocolName = "paper",
    limit: int | None = LIMIT,
    only: list[str] | None = None,
) -> list[Task]:
    suite = Suite(name="tests", title="", protocol=protocol, entries=entries, averages=())
    return load_tasks(suite, data, limit, only=only)


def answers(task: Task, place: int, *values: float) -> list[Answer]:
    assert len(values) == len(task.items[place].requests)
    return [Answer(log_likelihood=value) for value in values]


@pytest.mark.parametrize("protocol", ["paper", "current"])
@pytest.mark.parametrize("name", ["danube-table1", pytest.param("open-llm-leaderboard", marks=pytest.mark.slow)])
def test_every_task_of_a_suite_is_asked(name: str, protocol: ProtocolName, data: Path) -> None:
    """Each item has a right answer among its choices, or is generated; two leaves have no item in common."""
    suite = load_suite(name)
    tasks = load_tasks(suite, data, LIMIT, protocol)
    assert list(dict.fromkeys(task.group for task in tasks)) == [one.task for one in suite.entries]
    for task in tasks:
        assert [item.number for item in task.items] == list(range(len(task.items)))
        assert task.revision == MADE_UP and not task.is_whole and (task.known_items or 0) > len(task.items)
        for item in task.items:
            kinds = {type(one) for one in item.requests}
            is_scored = task.name not in ("gsm8k", "triviaqa")
            assert kinds == ({Continuation} if is_scored else {Generation})
            assert (item.right is not None) == (is_scored and task.name != "truthfulqa_mc2")
    hashes = [item.prompt_hash for task in tasks for item in task.items]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(("name", "shots"), [("hellaswag", 3), ("mmlu_virology", 4), ("triviaqa", 2)])
def test_current_is_what_the_library_asks_by_itself(name: str, shots: int, data: Path, tmp_path: Path) -> None:
    """Its own task over the same folder, which its own loader reads as one of the hub."""
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.tasks import TaskManager

    folder = (
        Path(sys.modules["lm_eval"].__file__ or "").parent / "tasks" / name.replace("mmlu_virology", "mmlu/default")
    )
    manager = TaskManager(include_path=str(folder), include_defaults=False)
    config = {
        **manager._factory._load_full_config(manager.task_index[name]),
        "dataset_path": str(data / DATA_SETS[name].repository),
        "dataset_kwargs": {"cache_dir": str(tmp_path)},
        "num_fewshot": shots,
    }
    theirs = ConfigurableTask(config=config)
    theirs.set_fewshot_seed(1234)
    theirs.build_all_requests()
    wanted = [instance.args for instance in theirs.instances]
    metric = "exact_match" if name == "triviaqa" else "acc"
    (ours,) = load(data, entry(name, shots, metric), protocol="current")
    found = [request for item in ours.items for request in item.requests]
    assert [request.context for request in found] == [args[0] for args in wanted]
    for request, args in zip(found, wanted, strict=True):
        if isinstance(request, Continuation):
            assert request.text == args[1]
        else:
            assert list(request.until) == args[1]["until"] and request.max_new_tokens == 256


def test_the_first_of_equally_good_answers_wins_and_is_counted(data: Path) -> None:
    """By the figure of the entry: two may have the same log-likelihood, and not the same of a character."""
    (plain,), (normed,) = load(data, entry("arc_easy")), load(data, entry("arc_easy", metric="acc_norm"))
    place = next(
        place
        for place, item in enumerate(plain.items)
        if item.right == 1 and len({len(one.text) for one in item.requests if isinstance(one, Continuation)}) == 4
    )
    item = plain.items[place]
    tied = answers(plain, place, -5.0, -5.0, -9.0, -9.0)
    assert plain.grade(item, tied).is_tie and not normed.grade(item, tied).is_tie
    assert plain.grade(item, tied).metrics["acc"] == 0.0
    lengths = [len(one.text) - 1 for one in item.requests if isinstance(one, Continuation)]
    by_character = answers(normed, place, *(-0.5 * length for length in lengths))
    assert normed.grade(item, by_character).is_tie and not plain.grade(item, by_character).is_tie
    assert normed.grade(item, by_character).metrics["acc_norm"] == 0.0


def test_bits_are_of_the_right_answer(data: Path) -> None:
    (task,) = load(data, entry("winogrande"))
    item = task.items[0]
    assert item.right is not None
    grade = task.grade(item, answers(task, 0, -10.0, -12.0))
    right = item.requests[item.right]
    assert isinstance(right, Continuation)
    assert grade.bits == pytest.approx((10.0, 12.0)[item.right] / math.log(2))
    assert grade.right_bytes == len(right.text.encode())


def test_truthfulqa_is_a_share_also_where_every_answer_is_unlikely(data: Path) -> None:
    """Below -745 nats a float's exponential is 0, and 0 / 0 no share."""
    (task,) = load(data, entry("truthfulqa_mc2", metric="mc2"))
    count = len(task.items[0].requests)
    near, far = (
        task.grade(task.items[0], answers(task, 0, *(shift - n for n in range(count)))) for shift in (0.0, -2_000.0)
    )
    assert near.metrics["mc2"] == pytest.approx(far.metrics["mc2"]) and 0 < near.metrics["mc2"] < 1
    assert (near.bits, near.right_bytes, near.is_tie) == (None, None, False)


def test_current_counts_as_the_library_does(data: Path) -> None:
    """Its filter finds the last strict answer, and a full stop behind it does not count."""
    (paper,), (current,) = (
        load(data, entry("gsm8k", 2, "exact_match"), protocol=protocol) for protocol in ("paper", "current")
    )
    right = next(
        str(n) for n in range(10_000) if paper.grade(paper.items[0], [Answer(text=f"#### {n}")]).metrics["exact_match"]
    )
    for text, in_paper, in_current in ((f"#### {right}.", 0.0, 1.0), (f"#### {right}", 1.0, 1.0), (right, 0.0, 0.0)):
        assert paper.grade(paper.items[0], [Answer(text=text)]).metrics == {"exact_match": in_paper}
        assert current.grade(current.items[0], [Answer(text=text)]).metrics == {"exact_match": in_current}


def test_a_chat_template_is_applied_to_each_example(data: Path) -> None:
    """As turns, with the answer to come in the assistant's."""

    def template(messages: list[dict[str, str]], *, add_generation_prompt: bool) -> str:
        turns = "".join(f"<{one['role']}>{one['content']}</>" for one in messages)
        return turns + ("<assistant>" if add_generation_prompt else "")

    suite = Suite(name="tests", title="", protocol="paper", entries=(entry("arc_easy", 2),), averages=())
    (chat,), (plain,) = load_tasks(suite, data, 5, chat_template=template), load_tasks(suite, data, 5)
    for with_template, without in zip(chat.items, plain.items, strict=True):
        request, other = with_template.requests[0], without.requests[0]
        assert isinstance(request, Continuation) and isinstance(other, Continuation)
        assert request.context.count("<user>") == 3 and request.context.endswith("</><assistant>")
        assert request.context.replace("</><user>", "\n\n").replace("</><assistant>", " ")[6:-1] == other.context
        assert request.text == other.text.removeprefix(" ")


def test_only_some_tasks_of_a_suite(data: Path) -> None:
    entries = entry("arc_easy"), entry("piqa"), entry("boolq")
    assert [task.name for task in load(data, *entries, only=["boolq", "arc_easy"])] == ["arc_easy", "boolq"]
    with pytest.raises(UserError, match=r"copa: no task of the suite tests; there are: arc_easy, piqa, boolq"):
        load(data, *entries, only=["copa"])


@pytest.mark.parametrize(
    ("asked", "protocol", "message"),
    [
        (entry("copa"), "current", r"copa: no task here of the library's; there are those that begin with arc_"),
        (entry("mmlu_alchemy"), "current", r"mmlu_alchemy: no task here"),
        (entry("arc_challenge_chat", metric="exact_match"), "paper", r"the protocol of the reports does not have this"),
        (entry("boolq", metric="acc_norm"), "paper", r"boolq: has no metric acc_norm; it has acc"),
        (entry("truthfulqa_mc2"), "current", r"truthfulqa_mc2: has no metric acc; it has mc2"),
        (entry("truthfulqa_mc2", 10, "mc2"), "paper", r"num_fewshot=10, and it has no examples; give 0"),
        (entry("mmlu", 6), "paper", r"num_fewshot=6, and .* has 5 examples; ask for fewer"),
        (entry("arc_easy", 33), "current", r"num_fewshot=33, and .* has 32 examples; ask for fewer"),
    ],
)
def test_a_task_that_cannot_be_so_is_refused(asked: Entry, protocol: ProtocolName, message: str, data: Path) -> None:
    with pytest.raises(UserError, match=message):
        load(data, asked, protocol=protocol)


def test_data_that_is_not_whole_needs_a_limit(data: Path) -> None:
    with pytest.raises(
        UserError, match=r"allenai/openbookqa \(main\): split test has 20 documents, and 500 are known; "
    ):
        load(data, entry("openbookqa"), limit=None)
    (task,) = load(data, entry("openbookqa"), limit=1_000)
    assert len(task.items) == DOCUMENTS and not task.is_whole


Change = Callable[[pyarrow.Table], pyarrow.Table]


def with_answer(column: str, value: object) -> Change:
    """Have the fourth document's answer be another."""

    def change(table: pyarrow.Table) -> pyarrow.Table:
        values = table[column].to_pylist()
        values[3] = value
        return table.set_column(table.column_names.index(column), column, [values])

    return change


@pytest.mark.parametrize(
    ("name", "split", "change", "message"),
    [
        (
            "piqa",
            "validation",
            lambda table: table.drop_columns(["sol2"]),
            r"piqa/data/validation.*: has no column sol2",
        ),
        ("piqa", "validation", lambda table: table[:0], r"piqa/data/validation.*: split validation has no document"),
        ("arc_easy", "test", with_answer("answerKey", "E"), r"test, document 3: its answer is none of its choices"),
        ("piqa", "validation", with_answer("label", 2), r"document 3: its answer is none of its choices \(2\)"),
        ("piqa", "validation", with_answer("label", -1), r"document 3: its answer is none of its choices"),
        ("winogrande", "validation", with_answer("answer", ""), r"document 3: its answer is none of its choices"),
        ("winogrande", "validation", with_answer("sentence", "No blank."), r"document 3: the library cannot ask it"),
    ],
)
def test_data_of_another_form_is_refused(
    name: str, split: str, change: Change, message: str, data: Path, tmp_path: Path
) -> None:
    changed = changed_data(data, tmp_path / "changed", name, split, change)
    with pytest.raises(UserError, match=message):
        assert load(changed, entry(name))[0].items


def test_a_row_short_is_told(data: Path, tmp_path: Path) -> None:
    """Of the known number; here by a set that has one less than the rehearsal's."""
    changed = changed_data(data, tmp_path / "changed", "gsm8k", "test", lambda table: table[:-1])
    with pytest.raises(UserError, match=r"split test has 19 documents, and 1,319 are known; fetch it again"):
        load(changed, entry("gsm8k", metric="exact_match"), limit=None)


def test_another_revision_is_refused(data: Path, tmp_path: Path) -> None:
    """With a limit, too: its documents may be others."""
    changed = changed_data(data, tmp_path / "changed", "gsm8k", "test", lambda table: table, revision="e" * 40)
    with pytest.raises(
        UserError, match=r"openai/gsm8k is of revision eeeeeeeeeeee, and the pinned one is 740312add88f; .*--fetch"
    ):
        load(changed, entry("gsm8k", metric="exact_match"))


def test_data_that_is_missing_or_has_changed_is_named(data: Path, tmp_path: Path) -> None:
    """With the command that fetches it."""
    with pytest.raises(UserError, match=r"none: allenai/ai2_arc \(ARC-Easy\) is not there; .*danube evaluate --fetch"):
        load(tmp_path / "none", entry("arc_easy"))
    changed = shutil.copytree(data, tmp_path / "changed")
    path = changed / "baber" / "piqa" / "data" / "validation-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UserError, match=r"validation-00000-of-00001\.parquet: not what manifest\.json has the hash of"):
        load(changed, entry("piqa"))
    path.unlink()
    with pytest.raises(UserError, match=r"validation-00000-of-00001\.parquet: missing; .*--fetch"):
        load(changed, entry("piqa"))
