"""What is published is whole and on the disk before it has its name; what fails leaves what was there."""

from __future__ import annotations

import errno
import hashlib
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from custom_modules import files
from custom_modules.errors import UserError
from custom_modules.file_writer import HashedWriter
from custom_modules.files import DiskFullError, sha256_of, whole_file, whole_files, whole_folder, whole_stream


@pytest.fixture
def order(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """The system calls that matter, as they come: what was flushed by its path, what got its name."""
    calls: list[tuple[str, str]] = []
    fsync, replace, rename = os.fsync, Path.replace, Path.rename

    def flushed(descriptor: int) -> None:
        calls.append(("fsync", str(Path(f"/proc/self/fd/{descriptor}").readlink())))
        fsync(descriptor)

    def named(move: Callable[[Path, Path], Path]) -> Callable[[Path, Path], Path]:
        def call(self: Path, target: Path) -> Path:
            calls.append(("named", str(target)))
            return move(self, target)

        return call

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", named(replace))
    monkeypatch.setattr(Path, "rename", named(rename))
    return calls


def test_a_file_is_on_the_disk_before_it_has_its_name_and_the_name_after(
    tmp_path: Path, order: list[tuple[str, str]]
) -> None:
    whole_files({tmp_path / "new" / "one": b"1", tmp_path / "new" / "two": b"2"})
    whole_file(tmp_path / "three", b"3")
    kinds = [kind for kind, _ in order]
    assert kinds == ["fsync", "fsync", "named", "named", "fsync", "fsync", "named", "fsync"]
    assert order[4] == ("fsync", str(tmp_path / "new")) and order[-1] == ("fsync", str(tmp_path))
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == ["one", "three", "two"]


def test_so_is_all_that_is_in_a_folder(tmp_path: Path, order: list[tuple[str, str]]) -> None:
    target = tmp_path / "folder"
    with whole_folder(target) as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "file").write_bytes(b"content")
    assert {path for kind, path in order[:3] if kind == "fsync"} == {
        str(path) for path in (aside, aside / "inner", aside / "inner" / "file")
    }
    assert order[3:] == [("named", str(target)), ("fsync", str(tmp_path))]
    assert (target / "inner" / "file").read_bytes() == b"content"


@pytest.mark.parametrize("replaced", [whole_stream, lambda path: whole_folder(path, replace=True)])
def test_what_fails_leaves_what_was_there(
    replaced: Callable[[Path], AbstractContextManager[object]], tmp_path: Path
) -> None:
    target = tmp_path / "target"
    if replaced is whole_stream:
        target.write_text("old")
    else:
        target.mkdir()
    before = target.stat().st_ino
    with pytest.raises(KeyboardInterrupt), replaced(target):
        raise KeyboardInterrupt
    with pytest.raises(DiskFullError, match=r"target: .*No space left"), replaced(target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert [path.name for path in tmp_path.iterdir()] == ["target"] and target.stat().st_ino == before


def test_a_folder_that_cannot_take_the_place_of_another_gives_it_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, rename = tmp_path / "target", Path.rename
    target.mkdir()
    (target / "old").touch()

    def refuse(self: Path, to: Path) -> Path:
        if to == target and self.suffix == files.PARTIAL:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return rename(self, to)

    monkeypatch.setattr(Path, "rename", refuse)
    refused = pytest.raises(UserError, match=r"target: cannot be written \(Permission denied\)")
    with refused, whole_folder(target, replace=True) as aside:
        (aside / "new").touch()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("target"), Path("target/old")]


def test_a_folder_that_one_process_makes_alone_begins_anew(tmp_path: Path) -> None:
    left = files.aside_of(tmp_path / "target")
    left.mkdir()
    (left / "half").touch()
    with whole_folder(tmp_path / "target", alone=True) as aside:
        (aside / "whole").touch()
    assert [path.name for path in tmp_path.rglob("*")] == ["target", "whole"]


def test_a_file_that_was_read_for_a_folder_is_named(tmp_path: Path) -> None:
    message = rf"^{tmp_path}/source: No such file or directory; put that right and run it again$"
    with pytest.raises(UserError, match=message), whole_folder(tmp_path / "target"):
        (tmp_path / "source").read_bytes()
    assert not list(tmp_path.iterdir())


def test_a_file_that_breaks_off_while_it_is_hashed_is_named() -> None:
    """The system says of such an error what it is, and not of which file."""
    unreadable = Path("/proc/self/mem")
    with pytest.raises(OSError, match="Input/output error") as raised:
        sha256_of(unreadable)
    assert raised.value.filename == str(unreadable)


def test_a_writer_knows_the_hash_of_what_is_on_the_disk(tmp_path: Path) -> None:
    writer = HashedWriter(tmp_path / "file")
    for piece in (b"one", b"", b"two" * 1000, b"many" * (1 << 20), b"last"):
        writer.write(piece)
    written = writer.finish()
    content = (tmp_path / "file").read_bytes()
    assert (written.bytes, written.sha256) == (len(content), hashlib.sha256(content).hexdigest())
    assert sha256_of(tmp_path / "file") == written.sha256
