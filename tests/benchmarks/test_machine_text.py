"""The text that `make bench-data` takes: whatever form it is in, no paragraph comes twice."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import orjson

from benchmarks.machine_text import collect, read_files

PROSE = (
    "This is a paragraph about the river {n}, which is long and wide, and it is written as prose for people to read.\n"
    "It goes on in a second line, so that there is enough of it to be a document, and then it ends."
)
CODE = "\n\n\n".join(f"def river_{n}(length: int) -> int:\n    return length * {n}" for n in range(1, 9))


def prose(*numbers: int) -> str:
    return "\n\n".join(PROSE.format(n=n) for n in numbers)


def write_texts(folder: Path) -> None:
    """Eight paragraphs of English in every form, some of them again elsewhere, and one file of code."""
    doc, man = folder / "doc", folder / "man" / "man1"
    doc.mkdir(parents=True)
    man.mkdir(parents=True)
    (doc / "a.txt").write_text(prose(1, 2))
    (doc / "copy of a.txt").write_text(prose(1, 2).replace("\n", "\n  "))
    (doc / "LICENSE").write_text(prose(2, 3))
    (doc / "b.md.gz").write_bytes(gzip.compress(prose(4).encode()))
    page = f"<html><head><title>no</title></head><body><script>var no;</script><p>{prose(5)}</p><p>&lt;tag&gt;</p>"
    (doc / "c.html").write_text(page)
    (man / "river.1").write_text(f".TH RIVER 1\n.SH NAME\n\\fB{prose(6)}\\fP\n")
    (folder / "man" / "de").mkdir()
    (folder / "man" / "de" / "fluss.txt").write_text("Ein Absatz über den Fluss. " * 20)
    with zipfile.ZipFile(folder / "d.whl", "w") as archive:
        archive.writestr("package/README.md", prose(7))
        archive.writestr("package/code.py", CODE)
    with tarfile.open(folder / "e.tar.gz", "w:gz") as archive:
        content = prose(8, 1).encode()
        member = tarfile.TarInfo("package/doc/readme.rst")
        member.size = len(content)
        archive.addfile(member, io.BytesIO(content))
    (folder / "f.txt").write_bytes(b"\xff\xfe" + prose(9).encode())
    (folder / "g.txt").write_bytes(b"binary\0" * 100)
    (folder / "h.png").write_text(prose(10))
    (folder / "i.whl").write_text("no archive")
    (folder / "link.txt").symlink_to(doc / "a.txt")


def texts_of(path: Path) -> list[str]:
    return [orjson.loads(line)["text"] for line in path.read_bytes().splitlines()]


def test_every_paragraph_comes_once_whatever_it_is_in(tmp_path: Path) -> None:
    write_texts(tmp_path / "machine")
    english, everything = tmp_path / "english.jsonl", tmp_path / "all.jsonl"
    found = collect([tmp_path / "machine"], english, everything, (10**6, 10**6), workers=1)
    together = "\n\n".join(texts_of(everything))
    for n in range(1, 9):
        assert together.count(f"about the river {n},") == 1, n
    assert "river_1" in together and not any(sign in together for sign in ("<p>", ".SH", "\\fB", "var no", "Fluss"))
    assert "river_1" not in "".join(texts_of(english))
    assert found.documents == 9 and found.copies in (1, 2), "which of two copies comes first is a matter of luck"
    assert found.kept == sum(len(text.encode()) for text in texts_of(everything))
    assert found.english == sum(len(text.encode()) for text in texts_of(english)) < found.kept


def test_what_cannot_be_read_gives_nothing(tmp_path: Path) -> None:
    write_texts(tmp_path)
    assert read_files([str(tmp_path / name) for name in ("f.txt", "g.txt", "i.whl", "nothing.txt")]) == []
