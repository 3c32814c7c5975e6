"""mC4's paragraphs and C4's bad words, against the library's own filters and a plain rule."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal
from data_prep.output.removed import read_removed
from data_prep.prepare import run
from data_prep.steps.c4 import C4BadWords, C4Paragraphs

pytest.importorskip("datatrove")

TEXTS = [
    *topics.values(),
    "",
    "\n\n\n",
    "a" * 300,
    "\n".join(["a" * 200] * 3),
    "\n".join(["a" * 199] * 9),
    "\n".join(["a" * 200] * 9),
]


@pytest.mark.parametrize("thresholds", [{}, {"min_paragraph_len": 60}, {"min_paragraphs": 8}])
def test_paragraphs_are_judged_as_the_library_does(thresholds: dict[str, int]) -> None:
    from datatrove.data import Document as LibraryDocument
    from datatrove.pipeline.filters.c4_filters import C4ParagraphFilter

    library = C4ParagraphFilter()
    vars(library).update(thresholds)
    step = C4Paragraphs(**thresholds)
    decisions = set()
    for text in TEXTS:
        kept = library.filter(LibraryDocument(text=text, id="")) is True
        document = Document(text, 1)
        fewest = thresholds.get("min_paragraphs", 3)
        assert step(document) == (document if kept else Removal("c4_paragraphs", f"< {fewest} paragraphs"))
        decisions.add(kept)
    assert decisions == {True, False}


def test_bad_words_are_whole_words_in_any_case(tmp_path: Path) -> None:
    listed = tmp_path / "en"
    listed.write_text("Darn\ntwo words\n\nc++\n")
    step = C4BadWords(str(listed))
    source = random.Random(3)
    pieces = ["darn", "DARN", "darned", "undarn", "two words", "two  words", "c++", "good", "day"]
    for _ in range(500):
        text = "".join(source.choice(pieces) + source.choice((" ", ".", "\n", "_", "-", "9")) for _ in range(3))
        lower = f" {text.lower()} "
        found = any(re.search(rf"(?<!\w){re.escape(bad)}(?!\w)", lower) for bad in ("darn", "two words", "c++"))
        assert isinstance(step(Document(text, 1)), Removal) == found, text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "data.steps.c4_badwords.words=null: download https://"),
        ({"words": "nowhere"}, "data.steps.c4_badwords.words=nowhere: no such file; download https://"),
    ],
)
def test_the_list_has_to_be_there(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        C4BadWords(**options)


def test_in_a_pipeline(
    tmp_path: Path,
    make_config: Callable[..., Config],
    make_texts: Callable[..., list[str]],
    write_jsonl: Callable[..., Path],
) -> None:
    texts = make_texts(60)
    (tmp_path / "bad").write_text("darn\n")
    path = write_jsonl(tmp_path / "a.jsonl", [*texts, f"{texts[0]} darn!"])
    steps = (
        f"data.steps.c4_badwords.words={tmp_path}/bad",
        "data.steps.c4_paragraphs={min_paragraphs: 1, min_paragraph_len: 1}",
    )
    config = make_config(path, *steps)
    run(config)
    removed = [record["text"] for record in read_removed(Path(config.data.dir) / "removed")]
    assert removed == [f"{texts[0]} darn!"]
    with pytest.raises(UserError, match=r"c4_paragraphs\.min_paragraphs=0: must be int from 1"):
        run(make_config(path, "data.steps.c4_paragraphs.min_paragraphs=0"))
