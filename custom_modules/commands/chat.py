"""`danube chat`: talk to an exported chat model."""

from __future__ import annotations

import argparse
import math
import sys
from contextlib import suppress
from typing import Any

from custom_modules.commands.options import path, positive


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the model, the one question, and how answers are drawn."""
    command.add_argument("source", type=path, metavar="MODEL", help="the folder that `danube convert to-hf` wrote")
    command.add_argument("--prompt", metavar="TEXT", help="answer this alone, on stdout; as lines from a pipe are")
    command.add_argument(
        "--max-new-tokens",
        type=positive,
        help="of an answer; default: generation_config.json's, or 1,024, but not above half of the context",
    )
    command.add_argument(
        "--temperature", type=_not_negative, help="0: the likeliest token; above: drawn; default: as the model's config"
    )
    command.add_argument("--top-p", type=_share, help="draw from the likeliest tokens that have this share")
    command.add_argument("--top-k", type=positive, help="draw from so many of the likeliest tokens")
    command.add_argument(
        "--repetition-penalty", type=_above_zero, help="of tokens that were there before; 1: none; default: the model's"
    )
    command.add_argument("--seed", type=int, help="draw the same tokens every time")


def run(options: argparse.Namespace) -> int:
    """Answer what was asked, or all that is read from a pipe, or talk at the terminal."""
    from custom_modules.chat.model import ChatModel
    from custom_modules.chat.terminal import Chat, answer_lines, answer_once, converse

    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, ValueError):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    chat = Chat(ChatModel(options.source), _sampling(options), options.seed)
    if options.prompt is not None:
        answer_once(chat, options.prompt)
    elif sys.stdin.isatty():
        converse(chat)
    else:
        answer_lines(chat, sys.stdin.buffer)
    return 0


def _sampling(options: argparse.Namespace) -> dict[str, Any]:
    """Return what of `generate`'s arguments was given."""
    names = ("max_new_tokens", "temperature", "top_p", "top_k", "repetition_penalty")
    given = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    if given.get("temperature") == 0:
        del given["temperature"]
        return {**given, "do_sample": False}
    drawn = {"temperature", "top_p", "top_k"} & given.keys()
    return {**given, "do_sample": True} if drawn else given


def _not_negative(text: str) -> float:
    return _number(text, 0 <= float(text) < math.inf, "0 or more")


def _above_zero(text: str) -> float:
    return _number(text, 0 < float(text) < math.inf, "more than 0")


def _share(text: str) -> float:
    return _number(text, 0 < float(text) <= 1, "more than 0, and 1 at most")


def _number(text: str, holds: bool, what: str) -> float:
    if not holds:
        raise argparse.ArgumentTypeError(f"{text}: give {what}")
    return float(text)
