"""`danube mt-bench`: a chat model's answers to MT-Bench, rated by a judge, as the report's Table 3."""

from __future__ import annotations

import argparse
import math
import os
import signal
from types import FrameType
from typing import TYPE_CHECKING

from custom_modules.commands.options import path, positive
from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.mt_bench.generation import MAX_NEW_TOKENS, Generation
from custom_modules.mt_bench.patience import Patience
from custom_modules.signal_handlers import handling

if TYPE_CHECKING:
    from custom_modules.mt_bench.judge_client import JudgeClient

_KEY = "OPENAI_API_KEY"
_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of the model's answers, of the judge, and of the results."""
    usual = Patience()
    command.add_argument("model", type=path, help="the Hugging Face folder of a chat model, of `danube convert to-hf`")
    command.add_argument(
        "--bench",
        type=path,
        required=True,
        metavar="FOLDER",
        help="FastChat's: question.jsonl, reference_answer/, and judge_prompts.jsonl in it or beside it",
    )
    command.add_argument("--output", type=path, metavar="DIR", help="of the results; default: mt_bench in MODEL")
    command.add_argument("--model-name", metavar="NAME", help="FastChat's model_id; default: the folder's name")
    command.add_argument(
        "--categories",
        choices=("report", "all"),
        default="report",
        help="report: without coding, as in section 6.3 (the default); all: as in section 7",
    )
    command.add_argument(
        "--official",
        action="store_true",
        help="FastChat's temperatures by category; default: 0, as in section 6.3",
    )
    command.add_argument("--seed", type=int, default=0, help="of what is drawn; default: 0")
    command.add_argument("--max-new-tokens", type=positive, default=MAX_NEW_TOKENS, metavar="N", help="of an answer")
    only = command.add_mutually_exclusive_group()
    only.add_argument("--answers-only", action="store_true", help="do not judge")
    only.add_argument("--judge-only", action="store_true", help="do not answer")
    command.add_argument(
        "--judge",
        metavar="URL",
        help="an OpenAI-compatible API, such as http://localhost:8000/v1; nothing else is asked",
    )
    command.add_argument("--judge-model", metavar="NAME", help="what that API calls the judge")
    command.add_argument(
        "--judge-key-env", metavar="VARIABLE", help=f"the variable that has its key, if it needs one; default: {_KEY}"
    )
    command.add_argument("--parallel", type=positive, default=1, metavar="N", help="requests at a time; default: 1")
    command.add_argument(
        "--timeout",
        type=_seconds,
        default=usual.timeout,
        metavar="SECONDS",
        help=f"of a request; default: {usual.timeout:g}",
    )
    command.add_argument(
        "--patience",
        type=_seconds,
        default=usual.limit,
        metavar="SECONDS",
        help=f"after which a request that nobody answers is given up, with code 75; default: {usual.limit:g}",
    )
    command.add_argument(
        "--first-wait",
        type=_seconds,
        default=usual.first_wait,
        metavar="SECONDS",
        help="before a request is made again, twice as long each time, unless the API says how long; default: "
        f"{usual.first_wait:g}",
    )


def run(options: argparse.Namespace) -> int:
    """Answer, judge, and print the table."""
    from custom_modules.mt_bench import run as mt_bench

    output = options.output or options.model / "mt_bench"
    request = mt_bench.Request(
        model=options.model,
        name=_name(options),
        bench=options.bench,
        output=output,
        generation=Generation(options.official, options.max_new_tokens, options.seed),
        all_categories=options.categories == "all",
        has_model_answer=not options.judge_only,
        client=_client(options),
        threads=options.parallel,
    )

    def stop(number: int, frame: FrameType | None) -> None:
        raise StoppedBySignal(
            f"stopped by {signal.Signals(number).name}: every answer and judgment so far is in {output}, and the same "
            "command goes on"
        )

    with handling(_SIGNALS, stop):
        for line in mt_bench.run(request):
            print(line)
    return 0


def _name(options: argparse.Namespace) -> str:
    name = str(options.model.resolve().name if options.model_name is None else options.model_name)
    if not name or "/" in name or name.startswith("."):
        raise UserError(
            f"--model-name {name}: it is a file's name, too: give one without /, and no dot at its beginning"
        )
    return name


def _client(options: argparse.Namespace) -> JudgeClient | None:
    """Return the judge that the options name; None for answers alone.

    Raises:
        UserError: they name none, or not all of it.
    """
    from custom_modules.mt_bench.judge_client import JudgeClient, read_key

    if options.answers_only:
        return None
    if options.judge is None or options.judge_model is None:
        lacking = "--judge URL" if options.judge is None else "--judge-model NAME"
        raise UserError(f"mt-bench: which judge? give {lacking}, or --answers-only")
    is_named = options.judge_key_env is not None
    key = read_key(options.judge_key_env if is_named else _KEY, os.environ, is_named)
    patience = Patience(options.timeout, options.first_wait, options.patience)
    return JudgeClient(options.judge, options.judge_model, key, patience)


def _seconds(text: str) -> float:
    seconds = float(text)
    if not (math.isfinite(seconds) and seconds > 0):
        raise argparse.ArgumentTypeError(f"{text}: give seconds, more than 0")
    return seconds
