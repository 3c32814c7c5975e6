from __future__ import annotations

import sys
from importlib import metadata
from pathlib import Path

import orjson
import pytest

from custom_modules.errors import UserError
from data_prep.builtin import builtin_corpus
from data_prep.builtin.builtin_corpus import files_of, find_corpus, write_corpus
from data_prep.builtin.docstrings import paragraphs, read_docstrings
from data_prep.work.workers import Workers

SOURCE = '''"""This module is read and it is never imported, or else it would fail."""
raise SystemExit("imported")

class Reader:
    """Reads a file line by line and returns the longest of them.

    >>> Reader("x").longest()
    'abc'
    """

    def longest(self):
        """Return the longest line that is in the file, without its end."""

        def inner():
            "This is said of a function that is inside of another one."

def after():
    r"""A regular expression such as \\d+ is in here, with \\w as well."""

x = """This string is no docstring, so it is not in the corpus."""
'''


def test_docstrings_are_gathered_by_definition_and_without_importing(tmp_path: Path) -> None:
    good, bad = tmp_path / "good.py", tmp_path / "bad.py"
    good.write_text(SOURCE)
    bad.write_text("def broken(:")
    found, none = read_docstrings([good, bad])
    assert none == []
    assert [(prose.line, prose.paragraphs) for prose in found] == [
        (1, ["This module is read and it is never imported, or else it would fail."]),
        (
            4,
            [
                "Reads a file line by line and returns the longest of them.",
                "Return the longest line that is in the file, without its end.",
                "This is said of a function that is inside of another one.",
            ],
        ),
        (17, ["A regular expression such as \\d+ is in here, with \\w as well."]),
    ]


@pytest.mark.parametrize(
    "junk",
    [
        ">>> x = np.zeros((3, 4))\n>>> x[0, 1]\n0.0",
        "=====  =====  =====\n  A      B    A or B",
        "Return it.",
        "Ceci est une phrase écrite pour une autre langue, elle parle longuement du monde.",
        "0.1 0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9",
    ],
)
def test_only_english_prose_is_kept(junk: str) -> None:
    prose = "The result is a list of all the numbers that are in the file."
    assert paragraphs(f"{prose}\n\n{junk}\n\n") == [prose]


def test_text_that_cannot_be_encoded_is_made_encodable() -> None:
    (paragraph,) = paragraphs("This is a half of a pair \ud800 and it is not a character.")
    paragraph.encode()


@pytest.mark.slow
def test_the_corpus_is_the_same_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two packages are enough here: the rehearsal has all of them."""
    monkeypatch.setattr(builtin_corpus, "PACKAGES", ("jinja2", "numpy"))
    with Workers(2) as workers:
        one, other = (write_corpus(tmp_path / name, "text", workers) for name in ("a", "b"))
    assert [path.read_bytes() for path in one.values()] == [path.read_bytes() for path in other.values()]
    assert find_corpus(tmp_path / "a", "text") == one
    assert find_corpus(tmp_path / "a", "body") is None
    assert files_of("builtin", one) == list(one.values())
    (numpy,) = files_of("builtin/numpy", one)
    assert all(orjson.loads(line)["source"].startswith("numpy") for line in numpy.open("rb"))
    with pytest.raises(
        UserError, match="builtin/nympy: no such piece of this Python installation; there are: python, "
    ):
        files_of("builtin/nympy", one)
    numpy.write_bytes(b"")
    assert find_corpus(tmp_path / "a", "text") is None
    records = [orjson.loads(line) for path in other.values() for line in path.read_bytes().splitlines()]
    found = [paragraph for record in records for paragraph in record["text"].split("\n\n")]
    assert len(found) == len(set(found))
    origins = {record["source"].split("/")[0].split(":")[0].removesuffix(".py") for record in records}
    assert {"pydoc_data", "numpy", "argparse"} <= origins
    allowed = {file.parts[0] for name in ("jinja2", "numpy") for file in metadata.distribution(name).files or ()}
    assert origins - sys.stdlib_module_names - {"pydoc_data"} <= {name.removesuffix(".py") for name in allowed}
