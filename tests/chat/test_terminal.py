"""`danube chat` at a real terminal."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from tests.support.chat import make_chain
from tests.support.terminal import CTRL_C, CTRL_D, Terminal

SAYS = "so é🙂日\n it is"


@pytest.fixture(scope="module")
def finite(small: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("finite") / "model", small, SAYS)


@pytest.fixture(scope="module")
def endless(small: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("endless") / "model", small, "value of", context=4096, ends=False)


@pytest.mark.parametrize("leave", [CTRL_C, CTRL_D, "/quit\n"])
def test_answers_until_its_user_leaves(finite: Path, leave: str) -> None:
    with Terminal("chat", str(finite)) as terminal:
        terminal.wait_for("> ")
        for text in ("hello\n", "é🙂?\n", "\n"):
            terminal.type(text)
            shown = terminal.wait_for("\n> $")
            assert (SAYS in shown) == (text != "\n")
        if leave == CTRL_C:
            terminal.interrupt_prompt()
        else:
            terminal.type(leave)
        assert terminal.wait() == 0
        assert "Traceback" not in terminal.shown


def test_ctrl_c_ends_an_answer_that_stays_in_the_conversation(endless: Path) -> None:
    """There is room for 96 tokens of prompt: for both questions, but not with the answer as far as it came."""
    with Terminal("chat", str(endless), "--max-new-tokens", "4000") as terminal:
        terminal.wait_for("> ")
        for is_left_out in (False, True):
            terminal.type("go on\n")
            shown = terminal.wait_for("(value of){40}")
            assert ("the oldest question is left out" in shown) == is_left_out
            terminal.type(CTRL_C)
            terminal.wait_for("\n> $")
        terminal.interrupt_prompt()
        assert terminal.wait() == 0


def test_the_oldest_turns_are_left_out_and_a_message_may_not_fit(finite: Path) -> None:
    with Terminal("chat", str(finite), "--max-new-tokens", "64") as terminal:
        terminal.wait_for("> ")
        notes = []
        for _ in range(12):
            terminal.type("a\n")
            shown = terminal.wait_for("\n> $")
            assert SAYS in shown
            notes.append("the oldest question is left out" in shown)
        assert notes.index(True) > 1
        terminal.type("/reset\na\n")
        terminal.wait_for("\n> ")
        assert "left out" not in terminal.wait_for("\n> $")
        terminal.type(" ".join(["0"] * 150) + "\n")
        found = re.search(r"the message has (\d+) tokens, .* 64 .* context of 256", terminal.wait_for("\n> $"))
        assert found
        assert int(found[1]) > 256 - 64
        terminal.type("a\n")
        assert SAYS in terminal.wait_for("\n> $")
        terminal.type(CTRL_D)
        assert terminal.wait() == 0


def test_what_would_move_the_cursor_is_not_shown(small: ChatTokenizer, tmp_path: Path) -> None:
    folder = make_chain(tmp_path / "model", small, "a\x1b[2Jb\tc")
    with Terminal("chat", str(folder)) as terminal:
        terminal.wait_for("> ")
        terminal.type("x\n")
        terminal.wait_for(r"a\[2Jb +c|a\[2Jb\tc")
        assert json.loads((folder / "generation_config.json").read_text())["repetition_penalty"] == 1.1
