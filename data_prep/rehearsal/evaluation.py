"""``python -m data_prep.rehearsal.evaluation FOLDER``: small data in the columns of all sets that evaluations read.

FOLDER is laid out as `danube evaluate --fetch` lays it down, for ``--data FOLDER --limit N``. A question is the
beginning of a sentence of Python's own documentation, its answers the sentence's end and those of others; GSM8k's are
sums. The sets measure whether a model knows that text, and their figures are none of the real sets'.
"""

from __future__ import annotations

import argparse
import ast
import random
import re
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from custom_modules.errors import UserError
from custom_modules.files import explained, whole_folder
from custom_modules.made import check_replaceable, note_files
from custom_modules.standard_streams import finished
from custom_modules.tasks.data_folder import MADE_UP, FetchedSet, Manifest, described, write_manifest
from custom_modules.tasks.datasets import DATA_SETS, DEFAULT, DataSet
from data_prep.builtin.docstrings import paragraphs

Row = dict[str, Any]

_SEED = 1234
_EXAMPLES = 32
"""In each split that examples are drawn from: more than the 25 of the longest prompts."""
_SHORTEST, _LONGEST = 40, 160
"""Characters of a sentence."""
_LEAST_WORDS = 5
_LEAST_SENTENCES = 200
_OF_A_SUBJECT = 20
"""MMLU has one document a subject for so many of another set."""
_LETTERS = ("A", "B", "C", "D")


class _Choice(NamedTuple):
    """A sentence's beginning, ends of which one is its own, and which."""

    beginning: str
    ends: list[str]
    right: int


class _Source:
    """Deals out sentences, and what is drawn from them, always in the same order."""

    def __init__(self, sentences: Sequence[str]) -> None:
        self._random = random.Random(_SEED)
        shuffled = list(sentences)
        self._random.shuffle(shuffled)
        self._sentences = cycle(shuffled)

    def sentence(self) -> str:
        return next(self._sentences)

    def choice(self, ends: int = 4) -> _Choice:
        beginning, own = _halves(self.sentence())
        found = [own]
        while len(found) < ends:
            other = _halves(self.sentence())[1]
            if other not in found:
                found.append(other)
        right = self.below(ends)
        found[0], found[right] = found[right], found[0]
        return _Choice(beginning, found, right)

    def below(self, end: int) -> int:
        return self._random.randrange(end)


def _halves(sentence: str) -> tuple[str, str]:
    words = sentence.split()
    middle = max(2, len(words) // 2)
    return " ".join(words[:middle]), " ".join(words[middle:])


def sentences() -> list[str]:
    """Return the sentences of Python's documentation of its language, in their order.

    Raises:
        UserError: this Python has none.
    """
    path = Path(sysconfig.get_path("stdlib")) / "pydoc_data" / "topics.py"
    with explained(path):
        tree = ast.parse(path.read_bytes())
    assigned = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    topics = ast.literal_eval(assigned[0]) if assigned else {}
    found = dict.fromkeys(
        sentence
        for text in topics.values()
        for paragraph in paragraphs(text)
        for sentence in re.split(r"(?<=\.)\s+", " ".join(paragraph.split()))
        if _is_sentence(sentence)
    )
    if len(found) < _LEAST_SENTENCES:
        raise UserError(f"{path}: has {len(found)} sentences, too few for the sets; use another Python")
    return list(found)


def _is_sentence(text: str) -> bool:
    return (
        _SHORTEST <= len(text) <= _LONGEST
        and len(text.split()) >= _LEAST_WORDS
        and text[0].isupper()
        and text.endswith(".")
    )


def write_evaluation_data(folder: Path, text: Sequence[str], documents: int) -> None:
    """Publish all sets, in place of what this wrote before.

    Args:
        text: sentences of five words or more.
        documents: how many questions a set has; MMLU has them for all its subjects together, at least two each.

    Raises:
        UserError: the folder holds something else, or cannot be written.
    """
    check_replaceable(folder, "the evaluation data of a rehearsal")
    source = _Source(text)
    with explained(folder), whole_folder(folder, replace=True) as aside:
        configs: dict[str, dict[str, dict[str, list[str]]]] = {}
        for name, data_set in DATA_SETS.items():
            splits = {}
            for split in data_set.documents:
                path = _path(data_set, split)
                _parquet(aside / data_set.repository / path, _rows(name, data_set, split, documents, source))
                splits[split] = [path]
            configs.setdefault(data_set.repository, {})[data_set.config] = splits
        data = {name: _finished(aside / name, found) for name, found in configs.items()}
        write_manifest(aside, Manifest(data=data))
        note_files(aside)


def _rows(name: str, data_set: DataSet, split: str, documents: int, source: _Source) -> list[Row]:
    if name.startswith("mmlu_"):
        asked = max(2, documents // _OF_A_SUBJECT)
        count = data_set.documents[split] if split == "dev" else asked
        return [_mmlu(source, data_set.config) for _ in range(count)]
    make = _MAKERS[name]
    return [make(source, number) for number in range(documents if split == data_set.evaluated else _EXAMPLES)]


def _path(data_set: DataSet, split: str) -> str:
    return f"{'data' if data_set.config == DEFAULT else data_set.config}/{split}-00000-of-00001.parquet"


def _finished(folder: Path, configs: Mapping[str, Mapping[str, list[str]]]) -> FetchedSet:
    """Write a repository's card, by which the `datasets` library finds its files, and describe it."""
    card = {
        "configs": [
            {
                "config_name": config,
                "data_files": [{"split": split, "path": path} for split, paths in splits.items() for path in paths],
            }
            for config, splits in configs.items()
        ]
    }
    (folder / "README.md").write_text(f"---\n{yaml.safe_dump(card, sort_keys=False)}---\n\nMade up for a rehearsal.\n")
    return described(folder, MADE_UP, configs)


def _arc(source: _Source, number: int) -> Row:
    one = source.choice()
    labels = [str(label + 1) for label in range(4)] if number % 7 == 3 else list(_LETTERS)
    return {
        "id": f"{number}",
        "question": f"{one.beginning} ...?",
        "choices": {"text": one.ends, "label": labels},
        "answerKey": labels[one.right],
    }


def _openbookqa(source: _Source, number: int) -> Row:
    one = source.choice()
    return {
        "id": f"{number}",
        "question_stem": one.beginning,
        "choices": {"text": one.ends, "label": list(_LETTERS)},
        "answerKey": _LETTERS[one.right],
    }


def _boolq(source: _Source, number: int) -> Row:
    """Ask whether a passage has a sentence's end behind its beginning."""
    one = source.choice(2)
    label = source.below(2)
    passage = f"{one.beginning} {one.ends[one.right]} {source.sentence()}"
    asked = one.ends[one.right if label else 1 - one.right].rstrip(".")
    return {"question": f"{one.beginning.lower()} {asked.lower()}", "passage": passage, "idx": number, "label": label}


def _hellaswag(source: _Source, number: int) -> Row:
    one = source.choice()
    before = source.sentence() + (" [title] More of it" if number % 5 == 0 else "")
    ends = [f"{end} [substeps] Now." for end in one.ends] if number % 6 == 0 else one.ends
    return {
        "ind": number,
        "activity_label": ("Reading", "Cooking [food]", "Parsing")[number % 3],
        "ctx_a": before,
        "ctx_b": one.beginning,
        "ctx": f"{before} {one.beginning}",
        "endings": ends,
        "source_id": f"rehearsal~{number}",
        "split": "val",
        "split_type": "indomain",
        "label": str(one.right),
    }


def _piqa(source: _Source, number: int) -> Row:
    one = source.choice(2)
    return {"goal": one.beginning, "sol1": one.ends[0], "sol2": one.ends[1], "label": one.right}


def _winogrande(source: _Source, number: int) -> Row:
    """Leave a word out of a sentence, and offer it and one of another."""
    words, others = source.sentence().split(), source.sentence().split()
    place = max(1, len(words) // 3)
    options = [words[place], next((word for word in others if word != words[place]), "it")]
    right = source.below(2)
    if right:
        options.reverse()
    blank = " ".join([*words[:place], "_", *words[place + 1 :]])
    return {"sentence": blank, "option1": options[0], "option2": options[1], "answer": str(right + 1)}


def _triviaqa(source: _Source, number: int) -> Row:
    *words, last = source.sentence().split()
    value = last.rstrip(".")
    return {
        "question": f"{' '.join(words)} ...?",
        "question_id": f"rehearsal_{number}",
        "question_source": "rehearsal",
        "answer": {
            "aliases": [value.upper(), value, f"The {value}", f"{value} it is"],
            "normalized_aliases": [value.lower()],
            "matched_wiki_entity_name": "",
            "normalized_matched_wiki_entity_name": "",
            "normalized_value": value.lower(),
            "type": "WikipediaEntity",
            "value": value,
        },
    }


def _truthfulqa(source: _Source, number: int) -> Row:
    one = source.choice()
    good = [one.ends[one.right], source.sentence()][: 1 + number % 2]
    bad = [end for place, end in enumerate(one.ends) if place != one.right]
    return {
        "question": f"{one.beginning} ...?",
        "mc1_targets": {"choices": [good[0], *bad], "labels": [1] + [0] * len(bad)},
        "mc2_targets": {"choices": good + bad, "labels": [1] * len(good) + [0] * len(bad)},
    }


def _gsm8k(source: _Source, number: int) -> Row:
    first, second = 2 + source.below(900), 2 + source.below(900)
    total = first + second
    return {
        "question": f"Tom has {first} apples and buys {second} more. How many apples does Tom have?",
        "answer": f"Tom has {first} + {second} = <<{first}+{second}={total}>>{total} apples.\n#### {total:,}",
    }


def _mmlu(source: _Source, subject: str) -> Row:
    one = source.choice()
    return {"question": f"{one.beginning} ...", "subject": subject, "choices": one.ends, "answer": one.right}


_MAKERS: Mapping[str, Callable[[_Source, int], Row]] = {
    "arc_easy": _arc,
    "arc_challenge": _arc,
    "boolq": _boolq,
    "hellaswag": _hellaswag,
    "openbookqa": _openbookqa,
    "piqa": _piqa,
    "winogrande": _winogrande,
    "triviaqa": _triviaqa,
    "truthfulqa": _truthfulqa,
    "gsm8k": _gsm8k,
}


def _parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


def main(arguments: Sequence[str]) -> int:
    """Write the sets; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.evaluation", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the sets get a folder each")
    parser.add_argument("--documents", type=int, default=40, help="questions of a set")
    given = parser.parse_args(arguments)
    return finished(lambda: write_evaluation_data(given.folder, sentences(), given.documents))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
