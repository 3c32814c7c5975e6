"""`danube sample`: text of an export, or a page that compares several models' answers."""

from __future__ import annotations

import argparse
from pathlib import Path

from custom_modules.commands.clearing import clearing_away
from custom_modules.commands.options import path, positive
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of one text, of a page, and of its marks."""
    command.add_argument("source", nargs="?", type=path, help="the folder that `danube convert to-hf` wrote")
    command.add_argument("--prompt", default="Return the", help="what the text begins with")
    command.add_argument("--max-new-tokens", type=positive, default=64)
    command.add_argument("--seed", type=int, default=1234)
    command.add_argument(
        "--compare",
        nargs="+",
        type=path,
        metavar="RUN_OR_EXPORT",
        help="write a page with the answers of exports, checkpoints or runs (the newest and the best) side by side",
    )
    command.add_argument("--prompts", type=path, metavar="FILE", help="YAML: a list of {name: ..., prompt: ...}")
    command.add_argument("--output", type=path, default=Path("comparison"), help="the page's folder to write")
    command.add_argument("--overwrite", action="store_true", help="replace the output if it is an earlier comparison")
    command.add_argument("--blind", action="store_true", help="the page does not say whose an answer is")
    command.add_argument("--marks", type=path, metavar="FILE", help="add up by model the marks that a page has saved")
    command.add_argument(
        "--of", type=path, metavar="FOLDER", help="for --marks: the page's folder; default: the marks'"
    )


def run(options: argparse.Namespace) -> int:
    """Print a text, write a page, or add its marks up: whichever was asked for."""
    given = [name for name in ("source", "compare", "marks") if getattr(options, name)]
    if len(given) != 1:
        raise UserError("sample: give one of an export's folder, --compare RUN_OR_EXPORT... and --marks FILE")
    if options.marks:
        from custom_modules.comparison import tally

        for line in tally(options.marks, options.of or options.marks.parent):
            print(line)
    elif options.compare:
        _compare(options)
    else:
        from custom_modules.conversion.sample import sample

        print(sample(options.source, options.prompt, options.max_new_tokens, options.seed))
    return 0


def _compare(options: argparse.Namespace) -> None:
    from custom_modules.comparison import compare
    from custom_modules.platform.megatron import quiet_megatron

    if options.prompts is None:
        raise UserError("sample --compare: on which prompts? give --prompts FILE")
    quiet_megatron()
    words = (options.output, options.max_new_tokens, options.seed, options.blind, options.overwrite)
    with clearing_away():
        print(compare(options.compare, options.prompts, *words))
