"""JSON that the standard does not know: whatever is beside the text costs nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from data_prep.input.documents import Document
from data_prep.input.readers import read_segment, read_whole_records
from tests.support.reading import Found, read, whole

ODD_VALUES = (
    "NaN",
    "Infinity",
    "-Infinity",
    "1e999",
    '[1, {"a": NaN}]',
    '"\\ud800"',
    '{"\\udc00": "\\ud800 \\udfff"}',
    "1" * 400,
    "-" + "9" * 5_000,
)


@pytest.mark.parametrize("value", ODD_VALUES, ids=lambda value: value[:20])
@pytest.mark.parametrize("order", ['{{"meta": {}, "text": "{}"}}', '{{"text": "{1}", "meta": {0}}}'])
def test_the_text_is_read(tmp_path: Path, value: str, order: str) -> None:
    texts = ["plain", "\\ud83d\\ude00 and \\\\ud800", "caf\u00e9 \\n"]
    (tmp_path / "a.jsonl").write_text("".join(f"{order.format(value, text)}\r\n" for text in texts))
    assert read(tmp_path / "a.jsonl") == Found(["plain", "\U0001f600 and \\ud800", "caf\u00e9 \n"], [1, 2, 3])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (r'{"text": "ab\ud800c"}', r"invalid JSON (a lone surrogate, \ud800, at character 3 of 'text')"),
        (r'{"text": "\udc00\ud800", "x": NaN}', r"invalid JSON (a lone surrogate, \udc00, at character 1 of 'text')"),
        ('{"text": NaN}', "'text' is float, not a string"),
        ('{"x": NaN}', "no key 'text'"),
        ("NaN", "not a JSON object"),
        ('[{"text": Infinity}]', "not a JSON object"),
        ('{"text": "a", "x": nan}', "invalid JSON ("),
        ('{"text": "a", "x": Nan}', "invalid JSON ("),
        ('{"text": "a", "x": +1}', "invalid JSON ("),
        ("{'text': 'a'}", "invalid JSON ("),
        ('{"text": "a", "x": NaN,}', "invalid JSON ("),
        ('{"text": "a\tb", "x": NaN}', "invalid JSON ("),
        ('{"text": "a", "x": ' + "[" * 3_000 + "]" * 3_000 + "}", "invalid JSON ("),
    ],
    ids=lambda value: value[:30],
)
def test_what_is_no_text_is_rejected_as_before(tmp_path: Path, line: str, reason: str) -> None:
    (tmp_path / "a.jsonl").write_text(f'{{"text": "a"}}\n{line}\n{{"text": "b"}}\n')
    found = read(tmp_path / "a.jsonl")
    assert found.texts == ["a", "b"]
    ((number, said),) = found.rejected
    assert number == 2 and said.startswith(reason)


def test_files_with_marks_may_be_joined(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\n\xef\xbb\xbf{"text": "b"}\n')
    assert read(tmp_path / "a.jsonl") == Found(["a", "b"], [1, 2])


def test_an_address_with_a_lone_surrogate_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "url": "http://\\ud800"}\n{"text": "b", "url": "c", "x": NaN}\n')
    records = list(read_segment(whole(tmp_path / "a.jsonl"), "text", "url"))
    assert [record.url for record in records if isinstance(record, Document)] == [None, "c"]


def test_whole_records_say_whether_they_are_standard(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a", "x": 1}\n{"text": "b", "x": Infinity}\n{bad\n{"text": "c"}\n')
    records = list(read_whole_records(whole(tmp_path / "a.jsonl"), "text"))
    assert [(record.line, record.fields["text"], record.is_standard) for record in records] == [
        (1, "a", True),
        (2, "b", False),
        (4, "c", True),
    ]
    assert records[1].fields["x"] == float("inf")
