"""`danube remap-tokenizer`: a checkpoint's weights under another tokenizer."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import config_of, path, take_config
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the folders, the tokenizers, and the options of a config, which need not be given."""
    command.add_argument("source", type=path, help="a run's folder (its newest checkpoint) or one checkpoint's")
    command.add_argument("output", type=path, help="the new run's folder to write")
    command.add_argument(
        "--to", metavar="TOKENIZER", type=path, required=True, help="the new tokenizer.model, tokenizer.json or folder"
    )
    command.add_argument(
        "--from", dest="old", metavar="TOKENIZER", type=path, help="refuse a checkpoint that was trained with another"
    )
    command.add_argument(
        "--optimizer", choices=("reset", "carry"), default="reset", help="begin it anew, or keep its moments"
    )
    command.add_argument("--seed", type=int, help="of the rows that are drawn; default: model.seed")
    take_config(command)
    command.set_defaults(config_name=None)  # without one the checkpoint's own config is kept


def run(options: argparse.Namespace) -> int:
    """Write the new run's first checkpoint, and print its folder."""
    from custom_modules.platform.megatron import quiet_megatron

    quiet_megatron()
    from custom_modules.conversion import remap_tokenizer

    if options.config_name is None and options.overrides:
        raise UserError(f"{options.overrides[0]}: give --config-name too, the new run's; without it the config is kept")
    config = config_of(options) if options.config_name else None
    carry = options.optimizer == "carry"
    print(remap_tokenizer(options.source, options.output, options.to, options.old, config, carry, options.seed))
    return 0
