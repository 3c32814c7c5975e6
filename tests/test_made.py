"""A folder that is claimed is the program's, wherever it was killed while it claimed it; and nobody else's is."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from custom_modules.errors import UserError
from custom_modules.made import NOTE, claim, is_claimed, remove_empty

STEPS = {"os.mkdir", "open", "os.rename"}


def killed_at(step: int, folder: Path) -> bool:
    """Claim a folder in a process that is gone at one of its steps; False: it has fewer."""
    child = os.fork()
    if not child:
        left = step

        def end(event: str, arguments: object) -> None:
            nonlocal left
            if event in STEPS and str(folder) in str(arguments):
                left -= 1
                if left < 0:
                    os._exit(1)

        sys.addaudithook(end)
        claim(folder, "a test")
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1


def test_a_claim_that_is_killed_is_taken_up(tmp_path: Path) -> None:
    step = 0
    for step in range(100):
        folder = tmp_path / str(step)
        was_killed = killed_at(step, folder)
        claim(folder, "a test")
        assert [path.name for path in folder.iterdir()] == [NOTE]
        if not was_killed:
            break
    assert step > 3


def test_what_a_killed_claim_leaves_is_removed(tmp_path: Path) -> None:
    for step in range(1, 4):
        folder = tmp_path / str(step)
        assert killed_at(step, folder)
        assert is_claimed(folder)
        remove_empty(folder)
        assert not folder.exists()


@pytest.mark.parametrize("name", ["notes.txt", f".{NOTE}.partial", f".{NOTE}.me.partial", f".{NOTE}.7.partial.txt"])
def test_a_folder_of_somebody_elses_is_not_claimed(name: str, tmp_path: Path) -> None:
    (tmp_path / f".{NOTE}.7.partial").write_text("")
    (tmp_path / name).write_text("somebody else's")
    with pytest.raises(UserError, match="not made by `a test`"):
        claim(tmp_path, "a test")
    assert not is_claimed(tmp_path)
    remove_empty(tmp_path)
    assert (tmp_path / name).read_text() == "somebody else's"
