from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow
import pytest

from custom_modules.errors import UserError
from data_prep.quality.examples import Examples, read_examples
from data_prep.quality.options import GbmOptions


def read(good: list[Path], raw: list[Path], labelled: list[Path], output: Path, **options: Any) -> Examples:
    return read_examples(good, raw, labelled, output, GbmOptions(**options))


@pytest.fixture
def texts(tmp_path: Path, write_jsonl: Callable[[Path, list[str]], Path]) -> dict[str, Path]:
    return {
        name: write_jsonl(tmp_path / f"{name}.jsonl", [f"{name} text {number}" for number in range(200)])
        for name in ("good", "raw")
    }


def labels_of(examples: Examples) -> dict[str, int]:
    return dict(zip(examples.texts, examples.labels.tolist(), strict=True))


def test_examples_do_not_depend_on_the_order_of_what_is_read(
    texts: dict[str, Path], tmp_path: Path, write_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    more = write_jsonl(tmp_path / "more.jsonl", [f"more {number}" for number in range(50)])
    first = read([texts["good"], more], [texts["raw"]], [], tmp_path / "out", max_examples=150)
    again = read([more, texts["good"]], [texts["raw"]], [], tmp_path / "out", max_examples=150)
    assert first.texts == again.texts and first.sha256 == again.sha256
    assert np.array_equal(first.labels, again.labels) and np.array_equal(first.held_out, again.held_out)
    assert np.bincount(first.labels).tolist() == [150, 150] and first.read == (200, 250)
    assert first.sha256 != read([texts["good"]], [texts["raw"]], [], tmp_path / "out", max_examples=150).sha256


def test_a_text_is_held_out_whatever_it_is_read_with(
    texts: dict[str, Path], tmp_path: Path, write_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    every = read([texts["good"]], [texts["raw"]], [], tmp_path / "out", held_out_fraction=0.3)
    parts = dict(zip(every.texts, every.held_out, strict=True))
    assert 0.2 < every.held_out.mean() < 0.4
    other = write_jsonl(tmp_path / "other.jsonl", [f"other {number}" for number in range(200)])
    mixed = read([texts["good"]], [other], [], tmp_path / "out", held_out_fraction=0.3)
    assert all(parts[text] == held for text, held in zip(mixed.texts, mixed.held_out, strict=True) if text in parts)
    train, held_out = every.part(held_out=False)[0], every.part(held_out=True)[0]
    assert sorted(train + held_out) == sorted(every.texts) and not set(train) & set(held_out)


def test_copies_count_once_and_a_text_in_both_is_good(
    texts: dict[str, Path], tmp_path: Path, write_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    copies = write_jsonl(tmp_path / "copies.jsonl", [" good  text 1\n", "good text 2", "raw text 3", "raw\ttext 3"])
    examples = read([texts["good"]], [texts["raw"], copies], [], tmp_path / "out")
    assert len(examples.texts) == 400
    assert [labels_of(examples)[f"good text {number}"] for number in (1, 2)] == [1, 1]


def test_unreadable_records_of_raw_text_are_counted(texts: dict[str, Path], tmp_path: Path) -> None:
    with texts["raw"].open("ab") as file:
        file.write(b'not JSON\n{"no": "text"}\n{"text": "  "}\n')
    examples = read([texts["good"]], [texts["raw"]], [], tmp_path / "out")
    assert examples.rejected == 3 and examples.read == (200, 200)


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz", "jsonl.zst"])
def test_labels_and_scores_are_read(tmp_path: Path, suffix: str) -> None:
    records = [{"text": f"text {number}", "label": number % 2} for number in range(300)]
    records += [{"text": f"scored {number}", "score": number / 100} for number in range(300)]
    content = b"\xef\xbb\xbf" + b"\n\n".join(map(orjson.dumps, records))
    if suffix == "jsonl.gz":
        content = gzip.compress(content)
    elif suffix == "jsonl.zst":
        content = pyarrow.compress(content, "zstd", asbytes=True)
    file = tmp_path / f"labelled.{suffix}"
    file.write_bytes(content)
    found = labels_of(read([], [], [file], tmp_path / "out", good_score=1.5))
    assert found == {
        record["text"]: record.get("label", int(float(str(record.get("score", 0))) >= 1.5)) for record in records
    }


@pytest.mark.parametrize(
    ("line", "says"),
    [
        (b"{", r"labelled.jsonl:2: invalid JSON \(.*\); correct it"),
        (b"[1]", "labelled.jsonl:2: no text under 'text'"),
        (b'{"text": "", "label": 1}', "labelled.jsonl:2: no text under 'text'"),
        (b'{"text": "a", "label": 2}', "labelled.jsonl:2: label=2: must be 1 for a good text or 0"),
        (b'{"text": "a", "label": "1"}', "labelled.jsonl:2: label=1: must be"),
        (b'{"text": "a"}', "labelled.jsonl:2: neither 'label'"),
        (b'{"text": "a", "score": "high"}', "labelled.jsonl:2: neither 'label'"),
        (b'{"text": "a", "score": 3}', "labelled.jsonl:2: it has a 'score' only; .* good_score=NUMBER"),
    ],
)
def test_a_bad_label_is_named_by_file_and_line(tmp_path: Path, line: bytes, says: str) -> None:
    file = tmp_path / "labelled.jsonl"
    file.write_bytes(b'{"text": "a", "label": 1}\n' + line + b"\n")
    with pytest.raises(UserError, match=says) as caught:
        read([], [], [file], tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_damaged_file_is_named_and_with_skip_what_can_be_read_of_it_is_learnt_from(
    texts: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Long ones are seen to be cut when their end is reached, short ones at once."""
    for count, reason in ((40_000, r"cut short: what follows line [\d,]+ is lost"), (1000, "cut short")):
        content = b"".join(b'{"text": "%d", "label": %d}\n' % (number * number, number % 2) for number in range(count))
        packed = gzip.compress(content)[:-100]
        labelled, raw = tmp_path / f"labelled{count}.jsonl.gz", tmp_path / f"raw{count}.jsonl.gz"
        for path in (labelled, raw):
            path.write_bytes(packed)
        ways_on = r"Mend what you can .*, or keep what can be read with on_damaged_file=skip$"
        given: list[tuple[list[Path], list[Path], list[Path]]] = [([], [], [labelled]), ([texts["good"]], [raw], [])]
        for good_files, raw_files, labelled_files in given:
            with pytest.raises(UserError, match=rf"^on_damaged_file=fail: 1 file .*{count}.*: {reason}\. {ways_on}"):
                read(good_files, raw_files, labelled_files, tmp_path / "out")
            options = {"on_damaged_file": "skip", "max_examples": 10**6}
            examples = read(good_files, raw_files, labelled_files, tmp_path / "out", **options)
            assert "1 file could not be read, whole or in part" in capsys.readouterr().err
            assert len(examples.texts) > count * 8 // 10 and not examples.rejected


def test_what_lies_in_the_place_of_a_file_is_named(texts: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "page.jsonl").write_bytes(b"<!DOCTYPE html><p>No such page")
    (folder / "a.jsonl").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"^on_damaged_file=fail: 1 file .*page\.jsonl: it is a web page \(HTML\)"):
        read([], [], [folder / "page.jsonl"], tmp_path / "out")
    with pytest.raises(UserError, match=r"^on_damaged_file=fail: 2 files .*a\.jsonl: it is a link to nothing; .*page"):
        read([texts["good"]], [folder], [], tmp_path / "out")


def test_numbers_that_are_none_in_other_fields_cost_no_label(tmp_path: Path) -> None:
    lines = [
        f'{{"text": "text {number}", "score": {number}, "x": {odd}}}\n'
        for number, odd in enumerate(["NaN", "Infinity", '"\\ud800"', "1"] * 100)
    ]
    lines.append('{"text": "beyond", "score": Infinity}\n')
    (tmp_path / "a.ndjson").write_text("".join(lines))
    found = labels_of(read([], [], [tmp_path / "a.ndjson"], tmp_path / "out", good_score=200))
    assert found == {f"text {number}": int(number >= 200) for number in range(400)} | {"beyond": 1}
    for bad, says in (
        ('{"text": "a", "score": NaN}', "neither 'label' .0 or 1. nor a number as 'score'"),
        (r'{"text": "ab\ud800", "label": 1}', "a lone surrogate at character 3 of the text"),
    ):
        (tmp_path / "bad.jsonl").write_text(bad)
        with pytest.raises(UserError, match=rf"bad\.jsonl:1: {says}"):
            read([], [], [tmp_path / "bad.jsonl"], tmp_path / "out")


@pytest.mark.parametrize(
    ("good", "raw", "labelled", "says"),
    [
        ("", "", "", "nothing is given to learn from"),
        ("good", "", "", "good is given to learn from; give good and raw files, or labelled"),
        ("", "raw", "", "raw is given to learn from"),
        ("good", "raw", "good", "good, raw, labelled is given to learn from"),
        ("nowhere", "raw", "", "good=.*nowhere.jsonl: no such file or folder"),
        ("good", "good", "", "raw=.*good.jsonl: .* is in good too"),
        ("few", "raw", "", "good=.*few.jsonl: 5 different good texts .label 1. and 200 others; give more good text"),
        ("good", "few", "", "raw=.*few.jsonl: 5 different raw texts .label 0. and 200 others"),
        ("", "", "one_label", "labelled=.*one_label.jsonl: 0 different raw texts .label 0. and 200 others"),
        ("good", "blank", "", "raw=.*blank.jsonl: 0 different raw texts"),
    ],
)
def test_what_cannot_be_learnt_from_is_one_line(
    texts: dict[str, Path], tmp_path: Path, good: str, raw: str, labelled: str, says: str
) -> None:
    (tmp_path / "few.jsonl").write_bytes(b"".join(b'{"text": "few %d"}\n' % (number % 5) for number in range(200)))
    (tmp_path / "blank.jsonl").write_bytes(b'{"text": " "}\n')
    (tmp_path / "one_label.jsonl").write_bytes(b"".join(b'{"text": "%d", "label": 1}\n' % n for n in range(200)))
    good_files, raw_files, labelled_files = (
        [tmp_path / f"{name}.jsonl"] if name else [] for name in (good, raw, labelled)
    )
    with pytest.raises(UserError, match=says) as caught:
        read(good_files, raw_files, labelled_files, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_a_part_without_enough_of_a_class_is_refused(texts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"held_out_fraction=0.001 divides 200 raw texts into \d and \d+; give more text"
    ):
        read([texts["good"]], [texts["raw"]], [], tmp_path / "out", held_out_fraction=0.001)


def test_the_text_key_is_the_users(texts: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="0 different raw texts"):
        read([texts["good"]], [texts["raw"]], [], tmp_path / "out", text_key="content")
