"""Every set in the form it is published in: what is read of it, and what is dropped."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from custom_modules.data.conversations import Conversations
from custom_modules.data.preferences import Preferences
from custom_modules.errors import UserError
from data_prep.output.removed import read_removed
from tests.support.conversation_sets import (
    Row,
    formatted,
    pairs_of,
    rendered,
    source,
    turns,
    write_array,
    write_lines,
    write_parquet,
)

PrepareSft = Callable[..., Conversations]
PrepareDpo = Callable[..., Preferences]
Write = Callable[[Path, Sequence[Row]], Path]


def talk(number: int, extra: Sequence[str] = ()) -> list[dict[str, str]]:
    return turns(f"why {number}?", f"so {number}", *extra)


def openorca(number: int) -> Row:
    return {"id": f"t0.{number}", "system_prompt": "be kind", "question": f"why {number}? ", "response": f"so {number}"}


def metamathqa(number: int) -> Row:
    return {"type": "GSM", "query": f"why {number}?", "original_question": "why?", "response": f"\nso {number}"}


def ultrachat(number: int) -> Row:
    return {"prompt": f"why {number}?", "prompt_id": str(number), "messages": talk(number, ["and?", "then"])}


def own(number: int) -> Row:
    return {"messages": [{"role": "system", "content": "be kind"}, *talk(number)], "more": [number]}


CONVERSATIONS: list[tuple[str, str, Write, Callable[[int], Row]]] = [
    ("openorca", "1M-GPT4-Augmented.parquet", write_parquet, openorca),
    ("openorca", "some.jsonl.gz", write_lines, openorca),
    ("metamathqa", "MetaMathQA-395K.json", write_array, metamathqa),
    ("ultrachat", "data/train_sft-00000-of-00001.parquet", write_parquet, ultrachat),
    ("messages", "mine.jsonl", write_lines, own),
    ("messages", "mine.ndjson", write_lines, lambda number: {"messages": talk(number)}),
    ("messages", "mine.json", write_array, own),
]


@pytest.mark.parametrize(("name", "file", "write", "make"), CONVERSATIONS)
def test_conversations(
    name: str, file: str, write: Write, make: Callable[[int], Row], tmp_path: Path, prepare_sft: PrepareSft
) -> None:
    """The set is told by its columns; the messages in the prompt format are the samples."""
    write(tmp_path / "set" / file, [make(number) for number in range(20)])
    prepared = prepare_sft(*source("mine", tmp_path / "set"))
    more = ["and?", "then"] if name == "ultrachat" else []
    assert rendered(prepared) == {formatted(talk(number, more)) for number in range(20)}
    assert prepared.manifest.options["sources"][0]["format"] == name
    [account] = prepared.manifest.sources
    assert (account["read"], account["kept"], account["removed"]) == (20, 20, {})


def ultrafeedback(number: int) -> Row:
    common = turns(f"why {number}?", "hm", "and?")
    chosen, rejected = ([*common, {"role": "assistant", "content": text}] for text in ("good", "bad"))
    row = {"prompt": "why?", "prompt_id": "1", "messages": chosen, "score_chosen": 8.0}
    return {**row, "chosen": chosen, "rejected": rejected}


def sides_alone(number: int) -> Row:
    return {key: ultrafeedback(number)[key] for key in ("chosen", "rejected")}


def orca_pair(number: int) -> Row:
    return {"system": "be kind", "question": f"why {number}?", "chosen": "good", "rejected": "bad"}


def distilabel(number: int) -> Row:
    row = {"metadata": "x", "instruction": f"why {number}?", "chosen_response": "good", "chosen_rating": 5.0}
    return {**row, "rejected_response": "bad", "rejected_rating": 1.0}


def own_texts(number: int) -> Row:
    return {"prompt": f"why {number}?", "chosen": "good", "rejected": "bad"}


def own_messages(number: int) -> Row:
    sides = {key: [{"role": "assistant", "content": text}] for key, text in (("chosen", "good"), ("rejected", "bad"))}
    return {"prompt": turns(f"why {number}?"), **sides}


PAIRS: list[tuple[str, str, Write, Callable[[int], Row]]] = [
    ("ultrafeedback", "data/train_prefs-00000-of-00001.parquet", write_parquet, ultrafeedback),
    (
        "ultrafeedback",
        "no_prompt.jsonl",
        write_lines,
        sides_alone,
    ),
    ("orca_dpo_pairs", "orca_rlhf.jsonl", write_lines, orca_pair),
    ("distilabel_math", "data/train-00000-of-00001.parquet", write_parquet, distilabel),
    ("pairs", "mine.jsonl.gz", write_lines, own_texts),
    ("pairs", "mine.parquet", write_parquet, own_messages),
]


@pytest.mark.parametrize(("name", "file", "write", "make"), PAIRS)
def test_pairs(
    name: str, file: str, write: Write, make: Callable[[int], Row], tmp_path: Path, prepare_dpo: PrepareDpo
) -> None:
    write(tmp_path / "set" / file, [make(number) for number in range(20)])
    prepared = prepare_dpo(*source("mine", tmp_path / "set"))
    more = ["hm", "and?"] if name == "ultrafeedback" else []
    good, bad = ([{"role": "assistant", "content": text}] for text in ("good", "bad"))
    expected = [{"prompt": turns(f"why {n}?", *more), "chosen": good, "rejected": bad} for n in range(20)]
    found = sorted(pairs_of(prepared), key=str)
    assert found == sorted(expected, key=str)
    assert prepared.manifest.options["sources"][0]["format"] == name


def test_a_system_prompt_is_dropped_or_put_before_the_first_question(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    rows = [openorca(number) for number in range(6)] + [{**openorca(9), "system_prompt": None}]
    write_lines(tmp_path / "a.jsonl", rows)
    prepared = prepare_sft(*source("mine", tmp_path / "a.jsonl", system="prepend"))
    expected = {formatted(turns(f"be kind\n\nwhy {n}?", f"so {n}")) for n in range(6)} | {formatted(talk(9))}
    assert rendered(prepared) == expected


FAULTY: list[tuple[Any, str, str]] = [
    ({"messages": turns("a", "")}, "reading", "an empty message"),
    ({"messages": turns("a", " \n ")}, "reading", "an empty message"),
    ({"messages": turns("a", "b")[::-1]}, "reading", "roles out of order"),
    ({"messages": [*turns("a", "b"), *turns("c", "d")[1:]]}, "reading", "roles out of order"),
    ({"messages": [{"role": "tool", "content": "x"}]}, "reading", "roles out of order"),
    ({"messages": [*turns("a", "b"), {"role": "system", "content": "x"}]}, "reading", "roles out of order"),
    ({"messages": turns("a question alone")}, "reading", "nothing left to learn"),
    ({"messages": []}, "reading", "nothing left to learn"),
    ({"messages": turns("why 0?", "so 0 ")}, "copies", "a copy"),
]


def test_what_is_dropped_is_kept_with_its_reason_file_and_line(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    """And a last question without an answer is left out of a conversation that goes on otherwise."""
    good = [{"messages": talk(number)} for number in range(6)]
    rows = [*good, *(row for row, _, _ in FAULTY), {"messages": turns("why 7?", "so 7", "and?")}]
    path = write_lines(tmp_path / "a.jsonl", rows)
    prepared = prepare_sft(*source("mine", path))
    assert rendered(prepared) == {formatted(talk(number)) for number in (*range(6), 7)}
    [account] = prepared.manifest.sources
    assert account["cuts"] == {"a last question without an answer left out": 1}
    kept = list(read_removed(prepared.path / "removed"))
    found = {(one["line"], one["step"], one["reason"]) for one in kept}
    assert found == {(line, step, reason) for line, (_, step, reason) in enumerate(FAULTY, start=7)}
    assert {one["source"] for one in kept} == {str(path)}
    assert account["read"] == account["kept"] + sum(sum(r.values()) for r in account["removed"].values())
    card = (prepared.path / "data_card.md").read_text()
    assert "| reading | an empty message | mine | 2 |" in card and "| copies | a copy | mine | 1 |" in card


UNREADABLE: list[tuple[Row | str, str]] = [
    ("{broken", "invalid JSON"),
    ("[1]", "not a JSON object"),
    ({"messages": None}, "'messages' is null, not a list of messages"),
    ({"messages": "hello"}, "'messages' is str, not a list of messages"),
    ({"messages": [1]}, "message 1 of 'messages' is int, not an object"),
    ({"messages": [{"content": "x"}]}, "message 1 of 'messages' has no role"),
    ({"messages": [{"role": "user", "content": None}]}, "'messages[0].content' is null, not a string"),
    ({"other": 1}, "no key 'messages'"),
    ('{"messages": [{"role": "user", "content": "\\ud800"}]}', "no Unicode (a lone surrogate"),
]


def test_what_cannot_be_read_is_counted_with_file_and_line(tmp_path: Path, prepare_sft: PrepareSft) -> None:
    path = write_lines(
        tmp_path / "a.jsonl", [*({"messages": talk(n)} for n in range(6)), *(row for row, _ in UNREADABLE)]
    )
    prepared = prepare_sft(*source("mine", path))
    first = prepared.manifest.skipped["first"]
    assert prepared.manifest.skipped["records"] == len(first) == len(UNREADABLE)
    for line, (said, (_, reason)) in enumerate(zip(first, UNREADABLE, strict=True), start=7):
        assert said.startswith(f"{path}:{line}: {reason}")
    with pytest.raises(UserError, match=r"a\.jsonl:7: invalid JSON.*data\.on_error=skip"):
        prepare_sft(*source("mine", path), "data.on_error=raise", directory=tmp_path / "other")


EQUAL: list[Row] = [
    {"prompt": "a", "chosen": "b", "rejected": "b "},
    {"prompt": turns("a", "b"), "chosen": "c", "rejected": "d"},
]


def test_faults_of_pairs(tmp_path: Path, prepare_dpo: PrepareDpo) -> None:
    longer = {**own_messages(8), "chosen": turns("why 8?", "good", "and?", "then")}
    rows: list[Row] = [
        *(own_texts(number) for number in range(6)),
        *EQUAL,
        {**own_texts(7), "rejected": ""},
        longer,
        own_texts(0),
    ]
    prepared = prepare_dpo(*source("mine", write_lines(tmp_path / "a.jsonl", rows)))
    assert len(pairs_of(prepared)) == 6
    [account] = prepared.manifest.sources
    reading = {"chosen equal to rejected": 1, "roles out of order": 2, "an empty message": 1}
    assert account["removed"] == {"reading": reading, "copies": {"a copy": 1}}


REFUSED = [
    ({"path": "no.jsonl"}, "data.sources.mine.path=no.jsonl: no such file or folder"),
    ({"path": "{tmp}/x.jsonl", "format": "oasst3"}, "data.sources.mine.format=oasst3: no such set; there are openorca"),
    (
        {"path": "{tmp}/x.jsonl", "format": "pairs"},
        "data.sources.mine.format=pairs: a set of pairs, and this run takes",
    ),
    ({"path": "{tmp}/x.jsonl", "format": "openorca"}, "data.sources.mine.format=openorca: {tmp}/x.jsonl has"),
    ({"path": "{tmp}/x.jsonl", "ends_only": "true"}, "data.sources.mine.ends_only=true: only for oasst2_pairs"),
    ({"path": "{tmp}/y.jsonl"}, "data.sources.mine.path={tmp}/y.jsonl: {tmp}/y.jsonl has text, which no set has"),
    ({"path": "{tmp}/p.jsonl"}, "a set of pairs (pairs), and this run takes conversations"),
    ({"path": "{tmp}/t.txt"}, "plain text holds no conversations"),
    ({"path": "{tmp}/both"}, "{tmp}/both/a.jsonl is of messages and {tmp}/both/b.jsonl of openorca"),
    ({"path": "s3://bucket/x.jsonl"}, "an address (s3://...)"),
    ({"path": "hf://models/a/b"}, "no data set's address; write hf://datasets/ORG/NAME"),
    ({"path": "{tmp}/data/train"}, "lies in {tmp}/data/train, where is written; use another data.dir"),
    ({"path": "{tmp}/empty.jsonl"}, "no record can be read that tells which set it is"),
    ({}, "data.sources.mine.path=null: give a file, a folder or hf://datasets/ORG/NAME"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED)
def test_a_mistake_is_named(given: dict[str, str], message: str, tmp_path: Path, prepare_sft: PrepareSft) -> None:
    write_lines(tmp_path / "x.jsonl", [{"messages": talk(1)}])
    write_lines(tmp_path / "y.jsonl", [{"text": "x"}])
    write_lines(tmp_path / "p.jsonl", [own_texts(1)])
    write_lines(tmp_path / "both" / "a.jsonl", [{"messages": talk(1)}])
    write_lines(tmp_path / "both" / "b.jsonl", [openorca(1)])
    (tmp_path / "t.txt").write_text("hello")
    (tmp_path / "empty.jsonl").touch()
    words = [f"data.sources.mine.{key}={value.format(tmp=tmp_path)}" for key, value in given.items()]
    with pytest.raises(UserError) as raised:
        prepare_sft(*(words or ["data.sources.mine={}"]))
    assert message.format(tmp=tmp_path) in str(raised.value)


def test_of_a_folder_the_split_to_train_on_is_read(
    tmp_path: Path, prepare_sft: PrepareSft, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, first in (("train_sft", 0), ("test_sft", 20), ("train_gen", 40)):
        rows = [ultrachat(number) for number in range(first, first + 8)]
        write_parquet(tmp_path / "set" / "data" / f"{name}-00000-of-00001.parquet", rows)
    (tmp_path / "set" / "README.txt").write_text("about it")
    prepared = prepare_sft(*source("mine", tmp_path / "set"))
    assert prepared.manifest.sources[0]["read"] == 8 and len(prepared.manifest.sources) == 1
    said = capsys.readouterr().err
    assert "test_sft-00000-of-00001.parquet: of another split" in said and ".txt: 1 file" in said
