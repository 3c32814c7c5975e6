"""`danube prune-tokenizer`: a tokenizer of the tokens that a text needs most."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path, positive


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the files, the size, and the options of how the text is read."""
    command.add_argument("source", type=path, help="cl100k_base.tiktoken, or another file of that form")
    command.add_argument("output", type=path, help="the tokenizer's folder to write")
    command.add_argument(
        "--vocab-size", type=int, metavar="N", help="tokens to keep, <|endoftext|> among them; default: all"
    )
    command.add_argument("--on", nargs="+", action="extend", default=[], metavar="TEXT", help="as data.input has it")
    known = command.add_mutually_exclusive_group()
    known.add_argument("--sha256", metavar="HASH", help="that a file under another name than cl100k_base's must have")
    known.add_argument("--any", action="store_true", help="take a file of another name whatever its hash")
    command.add_argument("--text-key", default="text", help="the field that holds a text, in JSON lines and Parquet")
    command.add_argument(
        "--on-damaged-file", choices=("fail", "skip"), default="fail", help="skip: count what can be read"
    )
    command.add_argument("--workers", type=positive, metavar="N", help="processes; default: one a core")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Write the tokenizer, and print the figures."""
    from data_prep.vocabulary.prune_tokenizer import PruneOptions, prune_tokenizer

    words = (options.sha256, options.any, options.text_key, options.on_damaged_file, options.workers)
    report = prune_tokenizer(
        options.source, options.output, PruneOptions(options.vocab_size, tuple(options.on), *words)
    )
    if report is None:
        print(options.output)
    else:
        print(report.as_json() if options.json else report.as_text())
    return 0
