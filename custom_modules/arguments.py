"""What the `danube` command takes: its subcommands and their options."""

from __future__ import annotations

import argparse

from custom_modules.commands.command import EPILOG, add_parser
from custom_modules.commands.table import COMMANDS


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line. Overrides among the options are left over by ``parse_known_args``:
    `custom_modules.commands.options.is_override`."""
    main_parser = argparse.ArgumentParser(
        prog="danube",
        description="Pre-train H2O-Danube on megatron-core, from raw text to a Hugging Face checkpoint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.add_arguments(add_parser(commands, name, command.help))
    return main_parser
