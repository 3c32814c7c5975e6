"""`data.on_damaged_file`: files that cannot be read, whole or in part, end the run or are named; no work is lost."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pyarrow
import pytest
from pyarrow import parquet

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from data_prep.clean.filter_corpus import filter_corpus
from data_prep.input.input_files import InputFile
from data_prep.input.units import split_units
from data_prep.only import run_step
from data_prep.output.summary import nothing_left
from data_prep.prepare import run
from data_prep.steps.filter_shard import FilterOptions, read_kept
from data_prep.tokenize.tokenize_corpus import TokenizedCorpus
from data_prep.work.shard import find_shard
from data_prep.work.workers import Workers
from tests.support.reading import json_lines
from tests.support.texts import random_texts

MakeConfig = Callable[..., Config]
ReadBytes = Callable[[Path], dict[str, bytes]]

SKIP = "data.on_damaged_file=skip"
WAYS_ON = (
    r"Mend what you can and run the same command, or keep what can be read with data\.on_damaged_file=skip; either"
)


@pytest.fixture(scope="module")
def contents() -> dict[str, bytes]:
    """JSON lines of several units, and two gzip files, so long that their first bytes say nothing of their ends."""
    packed = {f"{name}.jsonl.gz": random_texts(2_500, seed=seed) for seed, name in enumerate("bc")}
    return {
        "a.jsonl": json_lines(random_texts(3_000, seed=3)),
        **{name: gzip.compress(json_lines(texts), mtime=0) for name, texts in packed.items()},
    }


@pytest.fixture
def folder(tmp_path: Path, contents: dict[str, bytes]) -> Path:
    folder = tmp_path / "texts"
    folder.mkdir()
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return folder


@pytest.fixture
def small(tmp_path: Path) -> Path:
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "a.jsonl").write_bytes(json_lines(random_texts(60)))
    return folder


def cut(path: Path) -> None:
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 9 // 10])


def flaw(path: Path) -> Callable[[], None]:
    """Damage a file and return what mends it, with the size and the time that the damaged file has."""
    whole = path.read_bytes()
    place = len(whole) * 9 // 10
    path.write_bytes(whole[:place] + b"\xff" * 50 + whole[place + 50 :])
    times = path.stat()

    def mend() -> None:
        path.write_bytes(whole)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    return mend


def units(directory: Path) -> dict[str, int]:
    """The finished units, by their folders and when they were made."""
    made = (path for kind in ("units", "filtered") for path in directory.glob(f"prepare.work/{kind}/*"))
    return {path.name: path.stat().st_ctime_ns for path in made}


@pytest.mark.slow
def test_all_are_named_and_the_same_command_goes_on_once_they_are_mended(
    folder: Path, contents: dict[str, bytes], tmp_path: Path, make_config: MakeConfig, dataset_bytes: ReadBytes
) -> None:
    """One is cut, and one is mended without a trace: its size and time are those of the damaged file."""
    b_reason, c_reason = r"b\.jsonl\.gz: cut short: what follows line 2,\d{3} is lost", r"c\.jsonl\.gz: damaged \(.*"
    for name, *steps in (("plain",), ("steps", "data.steps.exact={}")):
        directory = tmp_path / name
        config = make_config(folder, *steps, directory=directory)
        cut(folder / "b.jsonl.gz")
        mend = flaw(folder / "c.jsonl.gz")
        with pytest.raises(
            UserError, match=rf"^data\.on_damaged_file=fail: 2 files .*{b_reason}; .*{c_reason}{WAYS_ON}"
        ):
            run(config)
        assert not (directory / "manifest.json").exists()
        first = units(directory)
        assert len(first) > 3

        (folder / "b.jsonl.gz").write_bytes(contents["b.jsonl.gz"])
        with pytest.raises(UserError, match=rf"fail: 1 file .*{c_reason}{WAYS_ON}"):
            run(config)
        assert len(set(first.items()) & set(units(directory).items())) >= len(first) - 2, "other units stand"

        mend()
        manifest = run(config)
        assert manifest.damaged == {"files": 0, "named": []}
        assert sum(source["documents"] for source in manifest.sources) == 8_000
    assert dataset_bytes(tmp_path / "plain") == dataset_bytes(tmp_path / "steps")


@pytest.mark.slow
def test_with_skip_what_can_be_read_is_kept_and_the_files_are_named_first(
    folder: Path,
    tmp_path: Path,
    make_config: MakeConfig,
    dataset_bytes: ReadBytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """At once, and where the same command without it has ended before."""
    cut(folder / "b.jsonl.gz")
    with (folder / "a.jsonl").open("ab") as file:
        file.write(b"{bad\n" * 30)
    with pytest.raises(UserError, match=r"1 file cannot be read, whole or in part: .*/b\.jsonl\.gz: cut short"):
        run(make_config(folder))
    made = len(units(tmp_path / "data"))
    (folder / "d.jsonl").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"1 file cannot be read, whole .*/d\.jsonl: it is a link to nothing"):
        run(make_config(folder))
    capsys.readouterr()
    manifest = run(make_config(folder, SKIP))
    said = capsys.readouterr().err.splitlines()
    assert f"finished by an earlier run: {made - 1} of {made} units" in said

    (b_line,) = (line for line in manifest.damaged["named"] if "b.jsonl.gz: cut short: what follows line 2," in line)
    assert manifest.damaged == {"files": 2, "named": [f"{folder}/d.jsonl: it is a link to nothing", b_line]}
    start = said.index("2 files could not be read, whole or in part; what could be read is kept:")
    assert said[start + 1 : start + 4] == [
        f"  {folder}/d.jsonl: it is a link to nothing",
        f"  {b_line}",
        "skipped 30 records; the first 20:",
    ]
    assert manifest.skipped["records"] == 30
    read = {Path(source["path"]).name: source["read"] for source in manifest.sources}
    assert b_line.endswith(f"line {read['b.jsonl.gz']:,} is lost") and 2_000 < read["b.jsonl.gz"] < 2_500
    assert (read["a.jsonl"], read["c.jsonl.gz"]) == (3_030, 2_500)
    for suffix in ("md", "html"):
        card = (tmp_path / "data" / f"data_card.{suffix}").read_text()
        assert "2 could not be read, whole or in part" in card
        assert all(line in card for line in manifest.damaged["named"])
    at_once = run(make_config(folder, SKIP, "data.steps.exact={}", directory=tmp_path / "at once"))
    assert at_once.damaged == manifest.damaged
    assert dataset_bytes(tmp_path / "data") == dataset_bytes(tmp_path / "at once")


def test_what_the_first_bytes_tell_is_found_before_the_first_unit(
    small: Path, tmp_path: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where many are damaged: all are named on stderr."""
    folder = small
    for number in range(8):
        (folder / f"{number}.parquet").write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n")
    (folder / "empty.jsonl.gz").touch()
    with pytest.raises(
        UserError, match=rf": 9 files cannot be read.*0\.parquet: .*and 4 more, listed above\. {WAYS_ON}"
    ):
        run(make_config(folder))
    assert not units(tmp_path / "data")
    said = capsys.readouterr().err
    assert all(f"  {folder}/{number}.parquet: it is a git-lfs pointer" in said for number in range(8))
    assert f"  {folder}/empty.jsonl.gz: it is empty (0 bytes)\n" in said


def test_a_wrong_schema_is_found_before_the_first_unit_and_skipped_by_nothing(
    small: Path, tmp_path: Path, make_config: MakeConfig
) -> None:
    parquet.write_table(pyarrow.table({"text": ["a"]}), small / "d.parquet")
    parquet.write_table(pyarrow.table({"body": ["a"]}), small / "e.parquet")
    with pytest.raises(UserError, match=r"^data\.text_key=text: no such column in .*e\.parquet; it has \['body'\]$"):
        run(make_config(small, SKIP, "data.on_error=skip"))
    assert not units(tmp_path / "data")


@pytest.mark.slow
def test_what_is_made_of_a_damaged_unit_is_not_taken_for_what_it_gives_another_time(
    folder: Path, tmp_path: Path
) -> None:
    """Steps that compare documents find what they made of a unit by its folder's name."""
    files = [InputFile.of(path) for path in sorted(folder.iterdir())]
    options = FilterOptions("text", "url", "skip", build_steps({}).alone, "skip")
    cut_units = split_units(files, 64_000_000)

    def texts(work: Path) -> tuple[list[str], list[int]]:
        with Workers(1) as workers:
            cleaned = filter_corpus(cut_units, options, (), work, workers)
        assert all(find_shard(unit.folder.parent, unit.folder.name) == unit.counts for unit in cleaned)
        return [unit.folder.name for unit in cleaned], [sum(1 for _ in read_kept(unit.folder)) for unit in cleaned]

    mend = flaw(folder / "b.jsonl.gz")
    folders, kept = texts(tmp_path / "work")
    mend()
    mended_folders, mended_kept = texts(tmp_path / "work")
    changed = [index for index, pair in enumerate(zip(folders, mended_folders, strict=True)) if pair[0] != pair[1]]
    assert len(changed) == 1
    assert sum(mended_kept) == 8_000 and kept != mended_kept
    assert texts(tmp_path / "work") == (mended_folders, mended_kept)


@pytest.mark.slow
def test_up_to_date_is_what_a_run_without_skip_would_not_refuse(
    small: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """A file of which every byte is an error of the disk cannot even be hashed."""
    (small / "d.jsonl").symlink_to("/proc/self/mem")
    for again in (False, True):
        manifest = run(make_config(small, SKIP))
        assert ("is up to date with 2 source files" in capsys.readouterr().err) == again
    assert manifest.damaged["named"] == [f"{small}/d.jsonl: cannot be read (Input/output error)"]
    assert [source["sha256"] for source in manifest.sources][-1] == ""
    with pytest.raises(UserError, match=r"d\.jsonl: cannot be read \(Input/output error\)"):
        run(make_config(small))
    (small / "d.jsonl").unlink()
    assert run(make_config(small)).damaged == {"files": 0, "named": []}
    capsys.readouterr()
    for more in ((), (SKIP,)):
        run(make_config(small, *more))
        assert "is up to date with 1 source file" in capsys.readouterr().err


def test_other_bytes_behind_the_last_member_are_warned_of(
    small: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    packed = gzip.compress((small / "a.jsonl").read_bytes())
    (small / "b.jsonl.gz").write_bytes(packed + b"what is this")
    (small / "c.jsonl.gz").write_bytes(packed + bytes(512))
    manifest = run(make_config(small, "data.on_error=raise"))
    assert manifest.damaged["files"] == 0 and sum(source["documents"] for source in manifest.sources) == 180
    (warning,) = (line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: "))
    assert warning.startswith(f"warning: {small}/b.jsonl.gz: 12 bytes from byte {len(packed):,} on")


def test_nothing_to_read_is_one_line(tmp_path: Path, make_config: MakeConfig) -> None:
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.jsonl").symlink_to("a.jsonl")
    with pytest.raises(UserError, match=rf"^data\.on_damaged_file=fail: 1 file .*leads back to itself\)\. {WAYS_ON}"):
        run(make_config(tmp_path / "texts"))
    with pytest.raises(UserError, match=r"^.*a\.jsonl: cannot be read \(.*\); there is no other file to read"):
        run(make_config(tmp_path / "texts", SKIP))


@pytest.mark.slow
def test_where_the_steps_remove_all_it_is_said_which_removed_how_many(
    tmp_path: Path, make_config: MakeConfig, write_jsonl: Callable[[Path, list[str]], Path]
) -> None:
    paragraphs = "\n\n".join("The item of a benchmark that somebody has copied. " * 5 for _ in range(3))
    path = write_jsonl(tmp_path / "a.jsonl", [*random_texts(30), paragraphs])
    benchmark = write_jsonl(tmp_path / "benchmark.jsonl", [paragraphs])
    with path.open("ab") as file:
        file.write(b"{bad\n")
    steps = ("data.steps.c4_paragraphs={}", f"data.steps.decontaminate.files=[{benchmark}]")
    each = r"data\.steps\.c4_paragraphs removed 30 and data\.steps\.decontaminate removed 1 of 31: "
    with pytest.raises(UserError, match=rf"^data\.input=\[.*\]: no document is left; {each}.*; .*a\.jsonl:32: invalid"):
        run(make_config(path, *steps))
    corpus = TokenizedCorpus([], [], 0, {"exact": {"a copy": 2}}, [], [], [])
    sources = make_config(path, "data.input=null", f"data.sources={{web: {path}}}")
    assert str(nothing_left(sources, corpus)).startswith(
        "data.sources.web: no document is left; data.steps.exact removed 2"
    )


@pytest.fixture
def odd_names(tmp_path: Path) -> Path:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / os.fsdecode(b"caf\xe9.jsonl")).write_bytes(json_lines(random_texts(60)) + b"{bad\n")
    rows = pyarrow.table({"text": random_texts(60, seed=1), "url": ["u"] * 60})
    with (folder / os.fsdecode(b"\xff.parquet")).open("wb") as file:
        parquet.write_table(rows, file)
    (folder / os.fsdecode(b"\xfe.txt")).write_text("a text of its own")
    return folder


@pytest.mark.slow
def test_names_that_are_no_utf8_are_read_and_found_again(
    odd_names: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(odd_names, "data.shard_bytes=2000", "data.steps.exact={}")
    manifest = run(config)
    names = ["caf\\xe9.jsonl", "\\xfe.txt", "\\xff.parquet"]
    assert [source["path"] for source in manifest.sources] == [f"{odd_names}/{name}" for name in names]
    assert sum(source["read"] for source in manifest.sources) == 122
    assert f"  {odd_names}/caf\\xe9.jsonl:61: invalid JSON" in capsys.readouterr().err
    assert json.loads(manifest.path.read_text())["skipped"]["records"] == 1
    run(config)
    assert "is up to date with 3 source files" in capsys.readouterr().err


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.slow
def test_a_step_alone_does_alike(
    small: Path, odd_names: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "b.jsonl.gz").write_bytes(gzip.compress((small / "a.jsonl").read_bytes())[:-100])
    with pytest.raises(UserError, match=rf"b\.jsonl\.gz: cut short\. {WAYS_ON}"):
        run_step(make_config([small, odd_names]), "exact")
    out = run_step(make_config([small, odd_names], SKIP), "exact")
    said = capsys.readouterr().err
    assert said.index("b.jsonl.gz: cut short") < said.index("skipped 1 record:") < said.index("caf\\xe9.jsonl:61: ")
    assert len(rows(out / "kept.jsonl")) == 121
    assert 0 < sum(str(row["text"]).strip() != "" for row in rows(out / "removed.jsonl")) < 120


def test_a_step_alone_gives_records_as_they_came(tmp_path: Path, make_config: MakeConfig) -> None:
    lines = ['{"text": "one", "x": NaN}', '{"text": "one", "y": "\\ud800"}', '{"text": "two", "z": "caf\u00e9"}']
    (tmp_path / "a.jsonl").write_text("".join(f"{line}\n" for line in lines))
    parquet.write_table(pyarrow.table({"text": [b"one", b"three"]}), tmp_path / "b.parquet")
    out = run_step(make_config([tmp_path / "a.jsonl", tmp_path / "b.parquet"]), "exact")
    kept, removed = (out / "kept.jsonl").read_bytes().splitlines(), rows(out / "removed.jsonl")
    assert kept[0] == b'{"text": "one", "x": NaN}' and orjson.loads(kept[1]) == json.loads(lines[2])
    assert json.loads(kept[2])["text"] == "three"
    assert [{**record, "danube": None} for record in removed] == [
        {"text": "one", "y": "\ud800", "danube": None},
        {"text": "one", "danube": None},
    ]
