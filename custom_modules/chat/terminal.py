"""Talking to a model: at a terminal, line by line from a pipe, or one question."""

from __future__ import annotations

import re
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from custom_modules.chat.model import ChatModel
from custom_modules.chat.session import Conversation
from custom_modules.errors import UserError
from custom_modules.signal_handlers import handling

QUIT, RESET = "/quit", "/reset"
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
"""What moves a terminal's cursor or worse, without tabs and newlines."""


class Chat:
    """A model, a conversation with it, and how it is to answer.

    Args:
        sampling: what of `generate`'s arguments differs from the model's generation_config.json.
        seed: of what is drawn, in each conversation anew; None: another every time.
    """

    def __init__(self, model: ChatModel, sampling: Mapping[str, Any], seed: int | None) -> None:
        self._model = model
        self._sampling = dict(sampling)
        self._seed = seed
        limit = sampling.get("max_new_tokens", model.max_new_tokens)
        self._conversation = Conversation(model.encode, model.context, limit)
        self.forget()

    def forget(self) -> None:
        """Begin a conversation."""
        self._conversation.forget()
        if self._seed is not None:
            import torch

            torch.manual_seed(self._seed)

    def answer(self, text: str, write: Callable[[str], None], stopped: Callable[[], bool] = lambda: False) -> None:
        """Answer a message; notes go to stderr.

        Raises:
            UserError: the message cannot be answered.
        """
        ids, left_out = self._conversation.ask(text)
        if left_out:
            _note(
                f"the context is full: the oldest {'question is' if left_out == 1 else f'{left_out} questions are'} "
                "left out, with what was answered"
            )
        answer, is_cut = self._model.answer(ids, self._sampling, write, stopped)
        self._conversation.answered(answer)
        write("\n")
        if is_cut:
            _note("the answer is cut off at --max-new-tokens")


def answer_lines(chat: Chat, lines: Iterable[bytes]) -> None:
    """Answer each line of a pipe, in one conversation; stdout has the answers alone.

    Raises:
        UserError: a line cannot be answered; names it.
    """
    for number, line in enumerate(lines, start=1):
        try:
            text = line.decode().strip()
        except UnicodeDecodeError:
            raise UserError(f"line {number} of stdin: not UTF-8; convert it, as with iconv") from None
        if text == QUIT:
            return
        if text == RESET:
            chat.forget()
        elif text:
            try:
                chat.answer(text, _write)
            except UserError as error:
                raise UserError(f"line {number} of stdin: {error}") from None


def answer_once(chat: Chat, text: str) -> None:
    """Answer one message on stdout; raises what `Chat.answer` does."""
    chat.answer(text, _write)


def converse(chat: Chat) -> None:
    """Talk at a terminal until its user leaves. Ctrl-C ends an answer; what there is of it stays said."""
    with suppress(ImportError):
        import readline  # noqa: F401  (input() then edits lines and remembers them)
    _note(f"Ctrl-C ends an answer; {RESET} forgets what was said; {QUIT}, Ctrl-D or Ctrl-C here leaves")
    # A Ctrl-C that comes as an answer ends is meant for it, and may find the prompt; either way it leaves cleanly.
    with suppress(KeyboardInterrupt):
        while (text := _asked()) is not None:
            if text == RESET:
                chat.forget()
            elif text:
                _answer_until_stopped(chat, text)


def _asked() -> str | None:
    """Read a message; None: the user leaves."""
    try:
        text = (input("> ") if sys.stdout.isatty() else _read_line()).strip()
    except (EOFError, KeyboardInterrupt):
        print(file=sys.stderr)
        return None
    return None if text == QUIT else text


def _read_line() -> str:
    """Ask on stderr, where stdout goes elsewhere."""
    print("> ", end="", file=sys.stderr, flush=True)
    line = sys.stdin.readline()
    if not line:
        raise EOFError
    return line


def _answer_until_stopped(chat: Chat, text: str) -> None:
    interrupts: list[int] = []
    with handling([signal.SIGINT], lambda number, frame: interrupts.append(number)):
        try:
            chat.answer(text, _write_shown, lambda: bool(interrupts))
        except UserError as error:
            _note(str(error))


def _write_shown(text: str) -> None:
    _write(_CONTROL.sub("", text))


def _write(text: str) -> None:
    print(text, end="", flush=True)


def _note(message: str) -> None:
    with suppress(OSError):
        print(f"danube: {message}", file=sys.stderr, flush=True)
