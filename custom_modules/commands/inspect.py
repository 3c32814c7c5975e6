"""`danube inspect`: datasets, and documents of one, decoded."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the dataset, and the options of which documents are shown."""
    command.add_argument("dataset", type=path, help="a folder, or a dataset's prefix, .bin or .idx")
    command.add_argument("--document", type=int, help="the first to show, from 0")
    command.add_argument("--count", type=int, default=3, help="how many documents to show")
    command.add_argument("--max-chars", type=int, default=2000, help="of each document")


def run(options: argparse.Namespace) -> int:
    """Print the list or the documents."""
    from custom_modules.data.inspect import inspect

    for line in inspect(options.dataset, options.document, options.count, options.max_chars):
        print(line)
    return 0
