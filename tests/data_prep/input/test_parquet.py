"""Parquet as it comes: columns of many types, row groups that say nothing or are damaged."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from custom_modules.errors import UserError
from data_prep.input.documents import Document
from data_prep.input.input_files import InputFile
from data_prep.input.probe import probe_files
from data_prep.input.readers import read_segment
from data_prep.input.units import split_units
from tests.support.reading import Found, read
from tests.support.texts import random_texts

TEXTS = ["first", "zw\u00f6lf", "third"]


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.binary(),
        pyarrow.large_binary(),
        pyarrow.binary_view(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.binary()),
        pyarrow.json_(),
    ],
    ids=str,
)
def test_columns_of_text_or_of_bytes_are_read(tmp_path: Path, kind: Any) -> None:
    storage = pyarrow.string() if kind == pyarrow.json_() else kind
    column = pyarrow.array(TEXTS, getattr(storage, "value_type", storage)).cast(storage)
    if kind == pyarrow.json_():
        column = pyarrow.ExtensionArray.from_storage(kind, column)
    parquet.write_table(pyarrow.table({"text": column}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet") == Found(TEXTS, [1, 2, 3])


def test_bytes_that_are_no_utf8_cost_their_row(tmp_path: Path) -> None:
    for number, kind in enumerate((pyarrow.binary(), pyarrow.binary(4))):
        column = pyarrow.array([b"good", b"ab\xffd", b"more"], kind)
        parquet.write_table(pyarrow.table({"text": column}), tmp_path / f"{number}.parquet")
        found = read(tmp_path / f"{number}.parquet")
        assert found.texts == ["good", "more"] and found.rejected == [(2, "invalid UTF-8 at byte 2 of the text")]


def test_the_rows_of_a_column_without_a_type_are_null(tmp_path: Path) -> None:
    parquet.write_table(pyarrow.table({"text": pyarrow.nulls(3)}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").rejected == [(row, "'text' is null, not a string") for row in (1, 2, 3)]


def test_files_without_a_row_have_no_record(tmp_path: Path) -> None:
    schema = pyarrow.schema([("text", pyarrow.string())], {"about": "x" * 1_000_000})
    parquet.write_table(schema.empty_table(), tmp_path / "a.parquet")
    parquet.ParquetWriter(tmp_path / "b.parquet", schema).close()
    for name in ("a.parquet", "b.parquet"):
        assert read(tmp_path / name) == Found()
        (unit,) = split_units([InputFile.of(tmp_path / name)], 1000)
        assert len(unit) == 1


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"body": ["x"]}, r"data\.text_key=text: no such column in .*b\.parquet; it has \['body'\]"),
        ({"text": [1]}, r"data\.text_key=text: .*b\.parquet holds int64 there, not strings"),
        ({"text": [["x"]]}, r"data\.text_key=text: .*b\.parquet holds list<element: string> there, not strings"),
        ({"text": [{"body": "x"}]}, r"data\.text_key=text: .*b\.parquet holds struct<.*> there, not strings"),
    ],
)
def test_all_schemas_are_looked_at(tmp_path: Path, columns: dict[str, Any], message: str) -> None:
    parquet.write_table(pyarrow.table({"text": TEXTS}), tmp_path / "a.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "b.parquet")
    parquet.write_table(pyarrow.table(columns), tmp_path / "c.parquet")
    files = [InputFile.of(path) for path in sorted(tmp_path.iterdir())]
    with pytest.raises(UserError, match=rf"^{message}.*\(and 1 more like it\)$"):
        probe_files(files, "text", None)


def test_two_columns_of_one_name_are_refused_where_they_would_be_read(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(TEXTS)] * 2, ["text", "text"]), path)
    for look in (lambda: read(path), lambda: probe_files([InputFile.of(path)], "text", None)):
        with pytest.raises(UserError, match=r"^data\.text_key=text: .*a\.parquet has 2 columns of that name; rename"):
            look()
    parquet.write_table(pyarrow.Table.from_arrays([pyarrow.array(TEXTS)] * 3, ["url", "text", "url"]), path)
    assert read(path).texts == TEXTS
    with pytest.raises(UserError, match=r"^data\.url_key=url: .*a\.parquet has 2 columns of that name"):
        read(path, url_key="url")


def silent(path: Path, sizes: list[int]) -> None:
    """Have row groups say that they hold 0 bytes: their size in the footer is overwritten, in as many bytes."""
    content = bytearray(path.read_bytes())
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    for size in sizes:
        written = bytearray()
        rest = size << 1  # zigzag, then seven bits a byte
        while rest > 0x7F:
            written.append(rest & 0x7F | 0x80)
            rest >>= 7
        written.append(rest)
        place = content.rindex(written, footer)
        content[place : place + len(written)] = b"\x80" * (len(written) - 1) + b"\0"
    path.write_bytes(content)


@pytest.mark.parametrize("chosen", [[0, 1, 2, 3], [1, 2, 3], [0], [3]], ids=str)
def test_row_groups_that_say_0_bytes_are_read_once(tmp_path: Path, chosen: list[int]) -> None:
    texts = random_texts(4_000)
    path = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.table({"text": texts, "id": range(4_000)}), path, row_group_size=1000)
    groups = [parquet.read_metadata(path).row_group(group).total_byte_size for group in range(4)]
    silent(path, [groups[group] for group in chosen])
    said = [parquet.read_metadata(path).row_group(group).total_byte_size for group in range(4)]
    assert [size == 0 for size in said] == [group in chosen for group in range(4)]
    for shard_bytes in (1_000, 300_000, 10**9):
        units = split_units([InputFile.of(path)], shard_bytes)
        records = [record for unit in units for segment in unit for record in read_segment(segment, "text")]
        assert [record.text for record in records if isinstance(record, Document)] == texts
        assert sum(segment.bytes for unit in units for segment in unit) == path.stat().st_size


def test_a_damaged_row_group_costs_no_other(tmp_path: Path) -> None:
    texts = random_texts(4_000)
    path = tmp_path / "a.parquet"
    parquet.write_table(
        pyarrow.table({"text": texts}), path, row_group_size=1000, compression="zstd", use_dictionary=False
    )
    column = parquet.read_metadata(path).row_group(1).column(0)
    content = bytearray(path.read_bytes())
    place = column.data_page_offset + column.total_compressed_size // 2
    content[place : place + 200] = b"\xff" * 200
    path.write_bytes(content)
    found = read(path)
    assert found.texts == texts[:1000] + texts[2000:]
    assert found.lines == [*range(1, 1001), *range(2001, 4001)]
    (reason,) = found.damage
    assert re.match(r"row group 2 cannot be read on, its last 1,000 rows are lost \(.*\)$", reason)
    assert not found.rejected
