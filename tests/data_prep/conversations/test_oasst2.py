"""Oasst2: messages and trees give the same conversations and pairs, and every message is accounted for."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from custom_modules.data.conversations import Conversations
from custom_modules.data.preferences import Preferences
from data_prep.conversations.messages import Conversation, Pair
from data_prep.conversations.reader import Candidate, Dropped, Joined, Outcome, Place, Reader
from data_prep.conversations.sets import READERS
from tests.support.conversation_sets import formatted, pairs_of, rendered, source, turns, write_lines, write_parquet

Tree = dict[str, Any]


def message(text: str, role: str = "prompter", rank: int | None = None, **more: Any) -> Tree:
    plain = {"message_id": f"id of {text}", "text": text, "role": role, "lang": "en", "rank": rank}
    return {**plain, "deleted": False, "review_result": True, "replies": [], **more}


def answer(text: str, rank: int | None = None, **more: Any) -> Tree:
    return message(text, "assistant", rank, **more)


def flat(tree: Tree, parent: str | None = None) -> list[Tree]:
    """The messages of a tree, a parent before its replies."""
    own = {key: value for key, value in tree.items() if key != "replies"}
    return [{**own, "parent_id": parent}, *(one for reply in tree["replies"] for one in flat(reply, own["message_id"]))]


def root(tree: Tree) -> Tree:
    return {"message_tree_id": tree["message_id"], "tree_state": "ready_for_export", "prompt": tree}


TREES = [
    message(
        "q1",
        replies=[
            answer("bad", 2),
            answer("best", 0, replies=[message("q2", rank=None, replies=[answer("last", 0), answer("not so", 1)])]),
            answer("middling", 1, replies=[message("aside", replies=[answer("x", 0), answer("y", 1)])]),
        ],
    ),
    message("q3", replies=[answer("no rank")]),
    message("f1", lang="de", replies=[answer("f2", 0, lang="de"), answer("f3", 1, lang="de")]),
    message("q4", replies=[answer("good", 0), answer("gone", 1, deleted=True), answer("third", 2)]),
    message("q5", replies=[answer("spam", 0, review_result=False), answer("fine", 1), answer("poor", 2)]),
    message("q6", replies=[answer("one", 0, replies=[message("left"), message("right")])]),
]


def write(folder: Path, form: str) -> Path:
    messages = [one for tree in TREES for one in flat(tree)]
    if form == "trees":
        return write_lines(folder / "ready.trees.jsonl.gz", map(root, TREES))
    if form == "lines":
        return write_lines(folder / "ready.messages.jsonl.gz", reversed(messages))
    return write_parquet(folder / "data" / "train-00000-of-00001.parquet", messages, row_group_size=3)


FORMS = pytest.mark.parametrize("form", ["trees", "lines", "parquet"])


@FORMS
def test_from_each_root_the_path_of_rank_0(
    form: str, tmp_path: Path, prepare_sft: Callable[..., Conversations]
) -> None:
    write(tmp_path / "set", form)
    prepared = prepare_sft(*source("oasst2", tmp_path / "set"), "data.shard_bytes=100")
    talks = [("q1", "best", "q2", "last"), ("q4", "good"), ("q6", "one")]
    assert rendered(prepared) == {formatted(turns(*talk)) for talk in talks}
    [account] = prepared.manifest.sources
    assert account["read"] == sum(len(flat(tree)) for tree in TREES)
    assert (account["kept"], account["joined"]) == (3, 5)
    reading = account["removed"]["reading"]
    assert reading["not English"] == 3 and reading["deleted"] == 1 and reading["refused by review"] == 1
    assert reading["nothing left to learn"] == 2, "q3's answer is not ranked, and q5's best one is refused"
    assert sum(reading.values()) == account["read"] - 8


@FORMS
@pytest.mark.parametrize("ends_only", [False, True])
def test_the_best_and_the_worst_of_ranked_replies(
    form: str, ends_only: bool, tmp_path: Path, prepare_dpo: Callable[..., Preferences]
) -> None:
    write(tmp_path / "set", form)
    prepared = prepare_dpo(*source("oasst2", tmp_path / "set", ends_only=ends_only))
    expected = [
        (("q1", "best", "q2"), "last", "not so"),
        (("q1", "middling", "aside"), "x", "y"),
        (("q4",), "good", "third"),
        (("q5",), "fine", "poor"),
    ]
    if not ends_only:
        expected.append((("q1",), "best", "bad"))
    found = {
        (tuple(one["content"] for one in row["prompt"]), row["chosen"][0]["content"], row["rejected"][0]["content"])
        for row in pairs_of(prepared)
    }
    assert found == set(expected)
    [account] = prepared.manifest.sources
    reading = account["removed"]["reading"]
    assert reading.get("not at the end of a conversation", 0) == ends_only
    assert account["read"] == account["kept"] + account["joined"] + sum(reading.values())


def test_faults_of_single_messages(tmp_path: Path, prepare_sft: Callable[..., Conversations]) -> None:
    good = [one for number in range(6) for one in flat(message(f"q{number}", replies=[answer(f"a{number}", 0)]))]
    bad = [
        {**good[0], "text": "there twice"},
        {**good[1], "message_id": "x", "parent_id": "nobody"},
        {**good[1], "message_id": "y", "rank": 0.5},
        {**good[1], "message_id": "z", "role": "system"},
        {key: value for key, value in good[1].items() if key != "message_id"},
    ]
    prepared = prepare_sft(*source("oasst2", write_lines(tmp_path / "a.jsonl", [*good, *bad])))
    [account] = prepared.manifest.sources
    assert account["kept"] == 6 and account["skipped"] == 3
    assert account["removed"]["reading"] == {"a message_id that is there before": 1, "below no root": 1}


NODES: st.SearchStrategy[Tree] = st.deferred(
    lambda: st.fixed_dictionaries(
        {
            "role": st.sampled_from(["prompter", "assistant", "assistant"]),
            "rank": st.sampled_from([None, 0, 1, 2]),
            "lang": st.sampled_from(["en"] * 5 + ["de"]),
            "deleted": st.sampled_from([False] * 5 + [True]),
            "replies": st.lists(NODES, max_size=3),
        }
    )
)


def named(tree: Tree, name: str = "0") -> Tree:
    replies = [named(reply, f"{name}.{number}") for number, reply in enumerate(tree["replies"])]
    return {**tree, "message_id": name, "text": name, "review_result": None, "replies": replies}


def outcomes(reader: Reader, records: Sequence[Mapping[str, Any]]) -> list[Outcome]:
    every = [one for record in records for one in reader.records(record)]
    return list(reader.outcomes(((Place(0, line), fields) for line, fields in enumerate(every))))


@given(NODES)
def test_whatever_the_trees_all_messages_are_accounted_for(tree: Tree) -> None:
    """Each once, for both ways to read them; and the form does not matter."""
    whole = named(tree)
    for name in ("oasst2", "oasst2_pairs", "oasst2_pairs_ends_only"):
        nested, messages = (outcomes(READERS[name], form) for form in ([root(whole)], flat(whole)))
        assert sorted(one.place.line for one in messages) == list(range(len(flat(whole))))
        assert items(nested) == items(messages)
        assert all(isinstance(one, Candidate | Joined | Dropped) for one in messages)


def items(found: list[Outcome]) -> list[Conversation | Pair]:
    return [one.item for one in found if isinstance(one, Candidate)]


def best_talk(tree: Tree) -> list[str]:
    """Independently: the names along rank 0, as far as there is an answer."""
    if not _usable(tree):
        return []
    wanted = "assistant" if tree["role"] == "prompter" else "prompter"
    replies = [reply for reply in tree["replies"] if reply["role"] == wanted]
    first = [reply for reply in replies if reply["rank"] == 0][:1]
    if wanted == "prompter" and not first and len(replies) == 1 and replies[0]["rank"] is None:
        first = replies
    rest = best_talk(first[0]) if first else []
    return [tree["text"], *rest] if rest or tree["role"] == "assistant" else []


def _usable(tree: Tree) -> bool:
    return tree["lang"] == "en" and not tree["deleted"]


@given(NODES)
def test_the_path_is_that_of_a_plain_recursion(tree: Tree) -> None:
    whole = named(tree)
    found = [one for one in outcomes(READERS["oasst2"], [root(whole)]) if isinstance(one, Candidate)]
    expected = best_talk(whole) if tree["role"] == "prompter" else []
    talks = [[one["content"] for one in candidate.item.messages] for candidate in found]  # type: ignore[union-attr]
    assert talks == ([expected] if expected else [])
