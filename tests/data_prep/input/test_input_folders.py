"""Folders as they come: links, circles, what cannot be listed, and all that is passed over, by name or by suffix."""

from __future__ import annotations

import gzip
import os
import re
import socket
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from data_prep.input.input_files import Listing, find_input_files
from data_prep.input.probe import probe_files
from data_prep.work.damaged_files import passed_over_lines
from tests.support.reading import json_lines
from tests.support.rights import nobody

LINE = json_lines(["a text"])


def found(folder: Path, *more: Path) -> Listing:
    return find_input_files({"text": [folder, *more]}, exclude=None)


def names(listing: Listing, folder: Path) -> list[str]:
    return [os.path.relpath(file.path, folder) for file in listing.files]


def passed_over(listing: Listing, folder: Path) -> dict[str, str]:
    return {os.path.relpath(one.path, folder): one.what for one in listing.passed_over}


def put(path: Path, content: bytes = LINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "input"
    folder.mkdir()
    return folder


def test_links_to_folders_are_followed_once_each(folder: Path) -> None:
    outside = put(folder.parent / "outside/x/1.jsonl").parents[1]
    put(folder.parent / "single.jsonl")
    put(folder / "b/2.jsonl")
    put(folder / "z.jsonl")
    (folder / "a").symlink_to(outside)
    (folder / "c").symlink_to("a")
    (folder / "d").symlink_to("b")
    (folder / "b/e").symlink_to(outside / "x")
    (folder / "y.jsonl").symlink_to("../single.jsonl")
    listing = found(folder)
    assert names(listing, folder) == ["y.jsonl", "z.jsonl", "a/x/1.jsonl", "b/2.jsonl"]
    assert not listing.passed_over
    whole = folder.parent / "link"
    whole.symlink_to(folder)
    assert names(found(whole), whole) == names(listing, folder)


def test_circles_are_named(folder: Path) -> None:
    put(folder / "a/1.jsonl")
    put(folder.parent / "outside/2.jsonl")
    (folder / "a/up").symlink_to("..")
    (folder / "self").symlink_to(".")
    (folder / "above").symlink_to("../..")
    (folder / "out").symlink_to("../outside")
    (folder.parent / "outside/back").symlink_to(folder)
    (folder / "b.jsonl").symlink_to("b.jsonl")
    listing = found(folder)
    assert names(listing, folder) == ["a/1.jsonl", "out/2.jsonl"]
    assert passed_over(listing, folder) == dict.fromkeys(
        ("above", "a/up", "self", "out/back"), "a link to a folder that it lies in"
    )
    (damaged,) = listing.unreadable
    assert str(damaged) == f"{folder}/b.jsonl: cannot be read (it is a link that leads back to itself)"
    with pytest.raises(UserError, match=r"data\.input=.*b\.jsonl: cannot be read \(it is a link that leads back"):
        found(folder / "b.jsonl")


def test_links_to_nothing_are_no_input_that_is_left_out(folder: Path) -> None:
    put(folder / "a.jsonl")
    (folder / "b.jsonl").symlink_to("nowhere.jsonl")
    (folder / "c").symlink_to("nowhere")
    listing = found(folder)
    assert [str(file) for file in listing.unreadable] == [f"{folder}/b.jsonl: it is a link to nothing"]
    assert passed_over(listing, folder) == {"c": "it is a link to nothing"}
    with pytest.raises(UserError, match=r"data\.input=.*b\.jsonl: a link to nowhere\.jsonl, where nothing is"):
        found(folder / "b.jsonl")


def test_what_is_no_file_is_named_and_does_not_block(folder: Path) -> None:
    put(folder / "a.jsonl")
    os.mkfifo(folder / "b.jsonl")
    os.mkfifo(folder / "c.json")
    (folder / "d.txt").symlink_to(os.devnull)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(folder / "e.jsonl.gz"))
        listing = found(folder)
    assert names(listing, folder) == ["a.jsonl"]
    assert passed_over(listing, folder) == {
        "b.jsonl": "a FIFO",
        "c.json": "a FIFO",
        "d.txt": "a device",
        "e.jsonl.gz": "a socket",
    }
    for name, kind in (("b.jsonl", "a FIFO"), ("c.json", "a FIFO"), ("d.txt", "a device"), ("e.jsonl.gz", "a socket")):
        with pytest.raises(UserError, match=rf"^data\.input=.*{name}: {kind}, which is read only once"):
            found(folder / name)


def test_a_folder_that_cannot_be_listed_is_an_error(open_folder: Path) -> None:
    put(open_folder / "a/a.jsonl")
    hidden = put(open_folder / "b/c/b.jsonl").parent
    hidden.chmod(0)
    with nobody(), pytest.raises(UserError, match=r"^/.*/b/c: cannot be listed \(Permission denied\); .*chmod"):
        found(open_folder)
    assert len(found(open_folder).files) == 2
    hidden.chmod(0o755)
    with nobody():
        assert len(found(open_folder).files) == 2


def test_a_folder_whose_files_cannot_be_reached_leaves_none_out(open_folder: Path) -> None:
    put(open_folder / "a.jsonl")
    put(open_folder / "b/b.jsonl").parent.chmod(0o444)
    with nobody():
        listing = found(open_folder)
    (damaged,) = listing.unreadable
    assert str(damaged) == f"{open_folder}/b/b.jsonl: cannot be read (Permission denied)"


def test_a_file_that_may_not_be_read_is_damaged(open_folder: Path) -> None:
    for name in ("a.jsonl", "b.parquet", "c.txt", "d.json.gz", "e.jsonl"):
        put(open_folder / name, gzip.compress(LINE) if name.endswith("gz") else LINE).chmod(0)
    (open_folder / "e.jsonl").chmod(0o644)
    with nobody():
        damaged = probe_files(found(open_folder).files, "text", None)
    assert [str(file) for file in damaged] == [
        f"{open_folder}/{name}: cannot be read (Permission denied)"
        for name in ("a.jsonl", "b.parquet", "c.txt", "d.json.gz")
    ]


def test_prepared_folders_and_the_result_are_passed_over(folder: Path) -> None:
    for name in ("a/1.jsonl", "v1/2.jsonl", "a/v1/3.jsonl", "out/4.jsonl"):
        put(folder / name)
    (folder / "link").symlink_to(put(folder.parent / "v1/5.jsonl").parent)
    (folder / "other").symlink_to(put(folder.parent / "v2/6.jsonl").parent)
    listing = find_input_files(
        {"text": [folder]},
        exclude=folder / "out",
        is_prepared=lambda path: path.name == "v1" or path.resolve().name == "v1",
    )
    assert names(listing, folder) == ["a/1.jsonl", "other/6.jsonl"]
    assert passed_over(listing, folder) == dict.fromkeys(("v1", "a/v1", "link"), "an earlier data.dir")


JSON_FILES: dict[str, tuple[bytes, str | None, str | None]] = {
    "lines": (LINE, None, None),
    "one object": (LINE.strip(), None, None),
    "behind blank lines and a mark": (b"\xef\xbb\xbf\r\n \r\n" + LINE, None, None),
    "a bad record first": (b'{"text": "a", }\n' + LINE, None, None),
    "NaN": (b'{"text": "a", "score": NaN}\n', None, None),
    "an array": (b'[{"text": "a"}, {"text": "b"}]', "a JSON array", "jq -c '.[]' {} > {}l"),
    "a pretty array": (b'[\n  {"text": "a"}\n]', "a JSON array", "jq -c '.[]' {} > {}l"),
    "a pretty object": (b'{\n  "text": "a"\n}\n', "a JSON object over several lines", "jq -c . {} > {}l"),
    "another object": (b'{"name": "a"}', "JSON without a field 'text'", None),
    "a long array": (b"[" + b'{"text": "a"},' * 200, "a JSON array", "jq -c '.[]' {} > {}l"),
    "a long object": (b'{"x": [' + b"1," * 2_000 + b"1]}", None, None),
    "a string": (b'"text"', "a JSON value that is no object", None),
    "no JSON": (b"text: a\n", "no JSON", None),
    "nothing": (b"\n\n", "empty", None),
}


@pytest.mark.parametrize("kind", JSON_FILES)
@pytest.mark.parametrize("suffix", [".json", ".json.gz"])
def test_a_json_file_is_read_if_it_has_lines_of_objects_with_the_text(
    folder: Path, suffix: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line that is too long to be looked at is left to the reader, but for that of an array."""
    monkeypatch.setattr("data_prep.input.json_file._LONGEST", 1_000)
    content, what, remedy = JSON_FILES[kind]
    path = put(folder / f"a{suffix}", gzip.compress(content) if suffix == ".json.gz" else content)
    put(folder / "b.jsonl")
    listing = found(folder)
    assert names(listing, folder) == ([f"a{suffix}", "b.jsonl"] if what is None else ["b.jsonl"])
    if what is None:
        assert found(path).files
        return
    lines = passed_over_lines(listing.passed_over)
    assert lines[1].startswith(f"  {path}: {suffix}, {what}, {path.stat().st_size:,} bytes") and len(lines) == 2
    with pytest.raises(UserError, match=rf"^data\.input=.*a{suffix}: {what}, no JSON lines; ") as refused:
        found(path)
    if remedy is not None and suffix == ".json":
        command = remedy.replace("{}", str(path))
        assert lines[1].endswith(f"; to read it: {command}")
        assert str(refused.value).endswith(f"make lines of it: {command}")


def test_a_json_file_that_cannot_be_read_is_damaged_and_not_passed_over(folder: Path) -> None:
    put(folder / "a.json", b"version https://git-lfs.github.com/spec/v1\n")
    put(folder / "b.json.gz", gzip.compress(LINE * 1000)[:-30])
    put(folder / "c.json.zst", b"")
    files = found(folder).files
    assert [file.reason for file in probe_files(files, "text", None)] == [
        "it is a git-lfs pointer, not the file itself (`git lfs pull` fetches it)",
        "cut short",
        "it is empty (0 bytes)",
    ]


def test_what_is_passed_over_is_told_by_suffix_and_first_name(folder: Path) -> None:
    put(folder / "a.jsonl")
    for name, size in (("b/1.md", 10), ("b/2.MD", 20), ("README", 3), ("c.csv", 4), (".git/x", 5), (".DS_Store", 6)):
        put(folder / name, b"x" * size)
    assert passed_over_lines(found(folder).passed_over) == [
        "passed over, for it is no input:",
        f"  hidden, with a dot before the name: 2 names, the first {folder}/.DS_Store",
        f"  without a suffix: 1 file, 3 bytes, {folder}/README",
        f"  .csv: 1 file, 4 bytes, {folder}/c.csv",
        f"  .md: 2 files, 30 bytes, the first {folder}/b/1.md",
    ]


def test_names_that_are_no_utf8_are_spelled_with_escapes(folder: Path) -> None:
    for name in (b"caf\xe9.jsonl", b"two\nlines.jsonl", b"\xff.md", b"d\xe9/1.txt"):
        put(folder / os.fsdecode(name))
    listing = found(folder)
    assert [file.shown for file in listing.files] == [
        f"{folder}/{name}" for name in ("caf\\xe9.jsonl", "two\\x0alines.jsonl", "d\\xe9/1.txt")
    ]
    assert all(Path(file.path).read_bytes() == LINE for file in listing.files)
    assert passed_over_lines(listing.passed_over)[1] == f"  .md: 1 file, {len(LINE)} bytes, {folder}/\\xff.md"
    with pytest.raises(UserError, match=r"^data\.input=.*/n\\xe9\.jsonl: no such file or folder$"):
        found(folder / os.fsdecode(b"n\xe9.jsonl"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("https://example.org/a.jsonl.gz", r"an address \(https://...\), and only local files are read; download it"),
        ("s3://bucket/texts", r"an address \(s3://...\), and only local files are read; download it first"),
        ("hf://datasets/a/b", r"an address \(hf://...\), and only local files are read; download it first"),
        ("file:///texts/a.jsonl", r"only local files are read; give the path alone, without file://"),
        ("*.jsonl", "no such file or folder, and a pattern is not expanded here; give the folder"),
        ("shard-[0-9].parquet", "a pattern is not expanded here; give the folder, of which every file of a known"),
        ("a?.txt", "or each file by its name$"),
    ],
)
def test_what_looks_like_a_file_and_is_an_address_or_a_pattern(folder: Path, given: str, said: str) -> None:
    put(folder / "b.jsonl")
    with pytest.raises(UserError, match=rf"^data\.input=.*{re.escape(given[-6:])}: .*{said}"):
        found(Path(given) if "://" in given else folder / given)


def test_a_file_may_be_called_like_a_pattern(folder: Path) -> None:
    assert names(found(put(folder / "a*[1].jsonl")), folder) == ["a*[1].jsonl"]
