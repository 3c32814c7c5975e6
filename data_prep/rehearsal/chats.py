"""``python -m data_prep.rehearsal.chats FOLDER``: the sets of conversations and pairs that a rehearsal is made with.

Each has the files, columns and form that it is published with, and a few records that `danube prepare` has to drop.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from custom_modules.files import explained, whole_folder
from custom_modules.made import check_replaceable, note_files
from custom_modules.standard_streams import finished
from data_prep.rehearsal.questions import Question, about_functions, sums

Row = dict[str, Any]

_SEED = 1234
_OPENORCA, _METAMATHQA, _ULTRACHAT = 1_560, 900, 900
_FEEDBACK, _ORCA_PAIRS, _DISTILABEL, _TREES = 290, 70, 24, 150
_SYSTEM = "You are an AI assistant. Answer so that a beginner understands it."
_OTHERS = ("de", "es", "ru")
"""Languages of trees that are not English."""
_FRONT = "data/{}-00000-of-00001.parquet"


def write_chats(folder: Path) -> None:
    """Publish all sets, each in a folder of its own, in place of what this wrote before.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    check_replaceable(folder, "the chats of a rehearsal")
    functions = about_functions()
    random.Random(_SEED).shuffle(functions)
    numbers = sums(_METAMATHQA + _FEEDBACK, _SEED)
    with explained(folder), whole_folder(folder, replace=True) as aside:
        _parquet(aside / "openorca" / "1M-GPT4-Augmented.parquet", _openorca(functions[:_OPENORCA]))
        _array(aside / "metamathqa" / "MetaMathQA-395K.json", _metamathqa(numbers[:_METAMATHQA]))
        talks = list(_ultrachat(functions))
        _parquet(aside / "ultrachat200k" / _FRONT.format("train_sft"), talks[:_ULTRACHAT])
        _parquet(aside / "ultrachat200k" / _FRONT.format("test_sft"), talks[_ULTRACHAT:])
        messages = list(_oasst2(functions[-2 * _TREES :]))
        _parquet(aside / "oasst2" / _FRONT.format("train"), messages)
        _parquet(aside / "oasst2" / _FRONT.format("validation"), messages[:20])
        feedback = list(_feedback(functions, numbers[_METAMATHQA:]))
        _parquet(aside / "ultrafeedback_binarized" / _FRONT.format("train_prefs"), feedback)
        _parquet(aside / "ultrafeedback_binarized" / _FRONT.format("test_prefs"), feedback[:20])
        _lines(aside / "orca_dpo_pairs" / "orca_rlhf.jsonl", _orca_pairs(functions))
        _parquet(aside / "distilabel_math_preference_dpo" / _FRONT.format("train"), _distilabel(numbers))
        note_files(aside)


def _openorca(questions: Sequence[Question]) -> Iterator[Row]:
    for number, question in enumerate(questions):
        system = _SYSTEM if number % 2 else ""
        row = {"id": f"flan.{number}", "system_prompt": system, "question": question.text, "response": question.best}
        yield row
        if number % 100 == 0:
            yield {**row, "id": f"t0.{number}"}
        if number % 150 == 1:
            yield {**row, "response": ""}


def _metamathqa(questions: Sequence[Question]) -> Iterator[Row]:
    for question in questions:
        yield {
            "type": "GSM_Rephrased",
            "query": question.text,
            "original_question": question.text,
            "response": question.best,
        }


def _ultrachat(questions: Sequence[Question]) -> Iterator[Row]:
    """Give conversations of two turns, and some of three."""
    source = random.Random(_SEED + 1)
    for number in range(_ULTRACHAT + 20):
        some = source.sample(questions, 3 if number % 4 == 0 else 2)
        messages = [message for question in some for message in _turn(question.text, question.best)]
        if number % 200 == 7:
            messages = messages[1:]
        yield {"prompt": messages[0]["content"], "prompt_id": _identity("talk", number), "messages": messages}


def _oasst2(questions: Sequence[Question]) -> Iterator[Row]:
    """Give the messages of trees: a question with three ranked answers, and one about the best with two."""
    source = random.Random(_SEED + 2)
    for number, (first, second) in enumerate(zip(questions[::2], questions[1::2], strict=True)):
        lang = source.choice(_OTHERS) if number % 10 == 9 else "en"
        tree = _identity("tree", number)

        def message(name: str, parent: str | None, text: str, rank: int | None, tree: str = tree, **more: Any) -> Row:
            return {
                "message_id": f"{tree}-{name}",
                "parent_id": parent and f"{tree}-{parent}",
                "text": text,
                "role": "assistant" if name[0] == "a" else "prompter",
                "lang": more.get("lang", "en"),
                "review_count": 3,
                "review_result": more.get("review_result", True),
                "deleted": False,
                "rank": rank,
                "synthetic": False,
                "message_tree_id": tree,
                "tree_state": "ready_for_export",
            }

        yield message("q1", None, first.text, None, lang=lang)
        for rank, text in enumerate(first.answers):
            yield message(f"a1{rank}", "q1", text, rank, lang=lang, review_result=rank < 2 or number % 7 > 0)
        yield message("q2", "a10", second.text, 0, lang=lang)
        for rank, text in enumerate((second.best, second.worst)):
            yield message(f"a2{rank}", "q2", text, rank, lang=lang)


def _feedback(functions: Sequence[Question], numbers: Sequence[Question]) -> Iterator[Row]:
    source = random.Random(_SEED + 3)
    for number in range(_FEEDBACK):
        question = numbers[number] if number % 3 == 0 else source.choice(functions)
        better, worse = question.best, question.best if number % 100 == 50 else source.choice(question.answers[1:])
        chosen, rejected = _turn(question.text, better), _turn(question.text, worse)
        yield {
            "prompt": question.text,
            "prompt_id": _identity("prompt", number),
            "chosen": chosen,
            "rejected": rejected,
            "messages": chosen,
            "score_chosen": 8.0,
            "score_rejected": 4.0,
        }


def _orca_pairs(functions: Sequence[Question]) -> Iterator[Row]:
    for question in random.Random(_SEED + 4).sample(functions, _ORCA_PAIRS):
        yield {"system": _SYSTEM, "question": question.text, "chosen": question.best, "rejected": question.worst}


def _distilabel(numbers: Sequence[Question]) -> Iterator[Row]:
    for question in random.Random(_SEED + 5).sample(numbers, _DISTILABEL):
        yield {
            "instruction": question.text,
            "chosen_response": question.best,
            "chosen_rating": 5.0,
            "rejected_response": question.worst,
            "rejected_rating": 1.0,
        }


def _turn(question: str, answer: str) -> list[dict[str, str]]:
    return [{"content": question, "role": "user"}, {"content": answer, "role": "assistant"}]


def _identity(kind: str, number: int) -> str:
    return hashlib.sha256(f"{kind} {number}".encode()).hexdigest()[:16]


def _parquet(path: Path, rows: Iterator[Row] | Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def _array(path: Path, rows: Iterator[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(list(rows), indent=4))


def _lines(path: Path, rows: Iterator[Row]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))


def main(arguments: Sequence[str]) -> int:
    """Write the sets; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.chats", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the sets get a folder each")
    given = parser.parse_args(arguments)
    return finished(lambda: write_chats(given.folder))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
