"""A file that is one JSON array: its objects one at a time, and what is said where it is damaged."""

from __future__ import annotations

import gzip
import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data_prep.input import json_array
from data_prep.input.documents import Damage, Rejection
from data_prep.input.input_files import InputFile
from data_prep.input.json_lines import WholeRecord
from data_prep.input.objects import Found, read_objects
from data_prep.input.units import Segment


def read(path: Path) -> list[Found]:
    return list(read_objects(Segment.whole(InputFile.of(path)), ()))


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(st.lists(VALUES, min_size=1, max_size=8), st.sampled_from([None, 0, 3]), st.booleans(), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_its_objects_are_those_of_the_json_module(
    tmp_path_factory: pytest.TempPathFactory, values: list[Any], indent: int | None, ascii_: bool, block: int
) -> None:
    """However they are written, and wherever a block of the file ends."""
    values = [{"a": 1}, *values]
    text = json.dumps(values, indent=indent, ensure_ascii=ascii_)
    path = written(tmp_path_factory.mktemp("array") / "a.json", text.encode(errors="surrogatepass"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_array, "_BLOCK", block)
        found = read(path)
    parsed = json.loads(path.read_bytes().decode(errors="surrogateescape"))
    assert [one.line for one in found if not isinstance(one, Damage)] == list(range(1, len(values) + 1))
    for one, value in zip(found, parsed, strict=True):
        if isinstance(value, dict):
            assert isinstance(one, WholeRecord) and json.dumps(one.fields) == json.dumps(value)
        else:
            assert one == Rejection("not a JSON object", parsed.index(value) + 1) or isinstance(one, Rejection)


@pytest.mark.parametrize("suffix", ["json", "json.gz"])
@pytest.mark.parametrize(
    ("content", "kept", "damage"),
    [
        (b'[{"a": 1}, {"a": 2}, {"a"', 2, "cut short: what follows element 2 is lost"),
        (b'[{"a": 1}, {"a": "xy', 1, "cut short: what follows element 1 is lost"),
        (b'[{"a": 1}', 1, "cut short: what follows element 1 is lost"),
        (b'[{"a": 1}, {"a": 1' + b" " * 99 + b'oops}, {"a": 3}]', 1, "element 2 is invalid JSON"),
        (b'[{"a": 1} {"a": 2}]', 1, "element 2 is invalid JSON (no comma before it)"),
    ],
)
def test_a_damage_is_told_with_what_is_lost(
    content: bytes, kept: int, damage: str, suffix: str, tmp_path: Path
) -> None:
    *records, last = read(written(tmp_path / f"a.{suffix}", content))
    assert [record.fields for record in records if isinstance(record, WholeRecord)] == [{"a": 1}, {"a": 2}][:kept]
    assert isinstance(last, Damage) and last.is_lost and last.reason.startswith(damage)


def test_a_cut_gzip_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "a.json.gz"
    path.write_bytes(gzip.compress(json.dumps([{"a": number} for number in range(9_999)]).encode())[:-200])
    *records, last = read(path)
    assert len(records) > 5_000 and isinstance(last, Damage)
    assert last.reason.endswith(f"what follows element {len(records):,} is lost") and "cut short" in last.reason


def test_odd_ends(tmp_path: Path) -> None:
    assert read(written(tmp_path / "a.json", b"[]")) == [Rejection("the array is empty", 1)]
    found = read(written(tmp_path / "b.json", b'\xef\xbb\xbf \n[{"a": 1}]\n[{"b": 1}]'))
    assert found == [WholeRecord(1, {"a": 1}), Damage("what stands behind its array is not read", is_lost=False)]
    deep = b'[{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]"
    [only] = read(written(tmp_path / "c.json", deep))
    assert isinstance(only, Damage) and "nested too deeply" in only.reason


def test_bytes_that_are_no_text_become_what_no_text_may_have(tmp_path: Path) -> None:
    [first, second] = read(written(tmp_path / "a.json", b'[{"a": "\xff"}, {"a": "b"}]'))
    assert first == WholeRecord(1, {"a": "\udcff"}) and second == WholeRecord(2, {"a": "b"})


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    with path.open("w") as file:
        file.write("[" + ",\n".join(json.dumps({"a": "x" * 1_000}) for _ in range(20_000)) + "]")
    tracemalloc.start()
    number = sum(1 for _ in read_objects(Segment.whole(InputFile.of(path)), ()))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert number == 20_000 and peak < path.stat().st_size / 2
