from __future__ import annotations

import itertools
from pathlib import Path

import orjson
import pyarrow
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from custom_modules.errors import UserError
from data_prep.input.documents import Damage, Document, Rejection
from data_prep.input.input_files import InputFile, find_input_files
from data_prep.input.readers import lines_before, read_segment
from data_prep.input.units import Segment, split_units
from tests.support.reading import Found, read, whole
from tests.support.texts import gzipped


def outcome(record: Document | Rejection | Damage, base: int = 0) -> tuple[int, str]:
    """Line and text, or line and reason."""
    assert not isinstance(record, Damage)
    return base + record.line, record.text if isinstance(record, Document) else f"!{record.reason}"


def outcomes(path: Path, key: str = "text") -> list[tuple[int, str]]:
    return [outcome(record) for record in read_segment(whole(path), key)]


def test_each_bad_json_line_is_rejected_by_its_number_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    lines = [
        b'\xef\xbb\xbf{"text": "first"}',
        b'{"title": "no text"}',
        b"",
        b'{"text": "broken \xff byte"}',
        b'{"text": null}',
        b'{"text": 3}',
        b'["text"]',
        b'{"text": "cut',
        b'{"text": "lone \\ud800 surrogate"}',
        b'{"text": "last, without a line break"}',
    ]
    path.write_bytes(b"\n".join(lines))
    found = outcomes(path)
    assert found[0] == (1, "first") and found[-1] == (10, "last, without a line break")
    assert [line for line, _ in found] == [1, 2, 4, 5, 6, 7, 8, 9, 10]
    reasons = dict(found[1:-1])
    assert reasons[2] == "!no key 'text'"
    assert reasons[4] == "!invalid UTF-8 at byte 17 of the line"
    assert reasons[5] == "!'text' is null, not a string"
    assert reasons[6] == "!'text' is int, not a string"
    assert reasons[7] == "!not a JSON object"
    assert all(reasons[line].startswith("!invalid JSON") for line in (8, 9))


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.jsonl", b""), ("a.txt", b""), ("a.jsonl", b"\xef\xbb\xbf"), ("a.jsonl.gz", gzipped(b""))],
)
def test_a_file_without_a_record_is_rejected_at_its_first_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert outcomes(tmp_path / name) == [(1, "!the file is empty")]


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.json.zst", "a.ndjson.xz", "a.jsonl.bz2", "a.parquet"])
def test_a_file_of_no_bytes_is_damaged_where_its_format_has_some(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    assert read(tmp_path / name) == Found(damage=["it is empty (0 bytes)"])


def test_a_text_file_is_one_document_or_is_rejected_at_the_line_that_is_no_utf8(tmp_path: Path) -> None:
    (tmp_path / "good.txt").write_text("one\ntwo\n", encoding="utf-8-sig")
    (tmp_path / "bad.txt").write_bytes("one\nzw\u00f6lf\n".encode("latin-1"))
    assert outcomes(tmp_path / "good.txt") == [(1, "one\ntwo\n")]
    assert outcomes(tmp_path / "bad.txt") == [(2, "!invalid UTF-8 at byte 6 of the file")]


def test_parquet_rows_are_numbered_over_row_groups_and_null_is_rejected(tmp_path: Path) -> None:
    texts = [f"row {number}" if number % 7 else None for number in range(1, 41)]
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"id": range(40), "body": texts}), path, row_group_size=9)
    expected = [(line, text or "!'body' is null, not a string") for line, text in enumerate(texts, start=1)]
    assert outcomes(path, "body") == expected


def test_parquet_with_invalid_utf8_loses_that_row_only(tmp_path: Path) -> None:
    raw = pyarrow.array([b"good", b"\xff\xfe", b"also good"])
    text = pyarrow.Array.from_buffers(pyarrow.string(), 3, raw.buffers())
    parquet.write_table(pyarrow.table({"text": text}), tmp_path / "a.parquet")
    assert outcomes(tmp_path / "a.parquet") == [
        (1, "good"),
        (2, "!invalid UTF-8 at byte 0 of the text"),
        (3, "also good"),
    ]


def test_parquet_without_the_column_or_with_numbers_in_it_is_the_users_mistake(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"body": ["x"], "text": [1]}), path)
    with pytest.raises(UserError, match=r"data\.text_key=content: no such column in .*a\.parquet; it has .*body"):
        outcomes(path, "content")
    with pytest.raises(UserError, match=r"data\.text_key=text: .*a\.parquet holds int64 there"):
        outcomes(path)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(
        st.sampled_from(["", " ", '{"text": "a"}', '{"text": "%s"}' % ("é" * 30), "{}", "\u2028"]), max_size=30
    ),
    cuts=st.lists(st.integers(0, 2000), max_size=5),
    last_break=st.booleans(),
)
def test_wherever_a_file_is_cut_every_line_is_read_once_and_keeps_its_number(
    tmp_path: Path, lines: list[str], cuts: list[int], last_break: bool
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(["{}", *lines]) + "\n" * last_break, encoding="utf-8")
    source = InputFile.of(path)
    edges = sorted({0, source.bytes, *(min(cut, source.bytes) for cut in cuts)})
    segments = [Segment(source, start, stop, stop - start) for start, stop in itertools.pairwise(edges)]
    bases = lines_before(source.path, [segment.start for segment in segments])
    pieces = [
        outcome(record, base)
        for segment, base in zip(segments, bases, strict=True)
        for record in read_segment(segment, "text")
    ]
    assert pieces == outcomes(path)


def test_folders_are_read_in_order_and_say_what_they_pass_over(tmp_path: Path) -> None:
    for name in ("b/2.txt", "b/1.jsonl", "a.parquet", ".hidden/x.txt", "b/notes.md", "out/3.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")
    found = find_input_files({"text": [tmp_path / "b" / "2.txt", tmp_path]}, exclude=tmp_path / "out")
    assert [Path(source.path).relative_to(tmp_path).as_posix() for source in found.files] == [
        "b/2.txt",
        "a.parquet",
        "b/1.jsonl",
    ]
    assert [passed.path for passed in found.passed_over] == [tmp_path / ".hidden", tmp_path / "b" / "notes.md"]


@pytest.mark.parametrize(
    ("name", "message"), [("no", "no such file"), ("a.csv", "unknown format; use .jsonl"), ("empty", "holds no .jsonl")]
)
def test_inputs_that_are_none_are_named(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "a.csv").touch()
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=rf"data\.input=.*{name}: {message}"):
        find_input_files({"text": [tmp_path / name]}, exclude=tmp_path / "data")


def test_units_hold_all_of_the_input_in_order_and_about_a_shard_each(tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / f"{number:02}.txt").write_bytes(b"x" * 100_000)
    lines = b"".join(orjson.dumps({"text": "y" * 1000}, option=orjson.OPT_APPEND_NEWLINE) for _ in range(10_000))
    (tmp_path / "big.jsonl").write_bytes(lines)
    table = pyarrow.table({"text": [f"z{number}" * 500 for number in range(5_000)]})
    parquet.write_table(table, tmp_path / "big.parquet", row_group_size=500, compression="none", use_dictionary=False)
    sources = find_input_files({"text": [tmp_path]}, exclude=tmp_path / "data").files
    units = split_units(sources, shard_bytes=1_000_000)
    assert sum(segment.bytes for unit in units for segment in unit) == sum(source.bytes for source in sources)
    assert all(sum(segment.bytes for segment in unit) <= 2_000_000 for unit in units)
    assert [len(unit) for unit in units[:4]] == [10, 10, 10, 10] and len(units) > 14
    found = [
        getattr(record, "text", record)
        for unit in units
        for segment in unit
        for record in read_segment(segment, "text")
    ]
    assert found == ["x" * 100_000] * 40 + ["y" * 1000] * 10_000 + table["text"].to_pylist()


@pytest.mark.parametrize("suffix", ["jsonl", "jsonl.gz"])
def test_a_line_beyond_any_document_is_named_and_passed_over(
    suffix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("data_prep.input.lines._LONGEST_LINE", 100)
    monkeypatch.setattr("data_prep.input.lines._BUFFER", 64)
    lines = [b'{"text": "a"}\n', b'{"text": "' + b"x" * 1000 + b'"}\n', b'{"text": "b"}\n', b"y" * 300]
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(gzipped(b"".join(lines)) if suffix == "jsonl.gz" else b"".join(lines))
    source = InputFile.of(path)
    records = list(read_segment(Segment(source, 0, source.bytes, source.bytes), "text"))
    assert [record.text for record in records if isinstance(record, Document)] == ["a", "b"]
    rejected = [(record.line, record.reason) for record in records if isinstance(record, Rejection)]
    assert rejected == [(2, "a line of more than 100 bytes"), (4, "a line of more than 100 bytes")]
