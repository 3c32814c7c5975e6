"""`danube check-data`: the faults in prepared data that megatron-core does not notice."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the folder, and the options of how it is checked."""
    command.add_argument("directory", type=path, help="a data.dir, or a folder of Megatron .bin and .idx files")
    command.add_argument("--quick", action="store_true", help="read some blocks of each file, and compare no hashes")
    command.add_argument(
        "--run", type=path, action="append", default=[], help="a run whose index caches are checked too"
    )
    command.add_argument("--vocab-size", type=int, help="of the tokens; default: the tokenizer's beside the data")
    command.add_argument("--eos-id", type=int, help="the token that ends a document; default: the tokenizer's")


def run(options: argparse.Namespace) -> int:
    """Print each problem. Raises UserError if there is one."""
    from custom_modules.data.check import check_data

    problems = 0
    for problem in check_data(options.directory, options.quick, options.run, options.vocab_size, options.eos_id):
        print(problem)
        problems += 1
    if problems:
        raise UserError(f"{options.directory}: {problems} problem(s), listed above")
    print(f"{options.directory}: no problem found" + (" in the blocks that were read" if options.quick else ""))
    return 0
