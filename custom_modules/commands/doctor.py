"""`danube doctor`: what a run needs of this machine."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import config_of, take_config
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the options of a config, which need not be given, and those of the kind of run."""
    take_config(command)
    command.set_defaults(config_name=None)
    command.add_argument("--gpu", action="store_true", help="for a run on GPUs; default: as the config or this machine")
    command.add_argument("--slurm", action="store_true", help="for a job under Slurm; default: inside one")
    command.add_argument("--timeout", type=float, default=60.0, help="seconds that each thing looked at has to answer")
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the diagnosis. Raises UserError if anything is lacking."""
    from custom_modules.doctor import as_json, examine, render

    config = None
    if options.config_name is not None:
        config = config_of(options)
    elif options.overrides or options.config_dir:
        raise UserError(f"{' '.join(options.overrides) or '--config-dir'}: of which config? give --config-name too")
    diagnosis = examine(config, options.gpu, options.slurm, options.timeout)
    print(as_json(diagnosis) if options.json else "\n".join(render(diagnosis)))
    if diagnosis.stops:
        names = ", ".join(finding.check for finding in diagnosis.stops)
        raise UserError(f"doctor: {diagnosis.run} lacks {names}; what to do is in the table")
    return 0
