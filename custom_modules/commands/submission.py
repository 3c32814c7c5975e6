"""`danube submission`: what slurm/curriculum.sh asks sbatch for."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import config_of, take_config


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the config's options, and those of which stages are submitted."""
    take_config(command)
    command.add_argument("--from", dest="first", metavar="STAGE", help="the first stage; default: of the curriculum")
    command.add_argument("--to", dest="last", metavar="STAGE", help="the last stage; default: of the curriculum")
    command.add_argument("--after", metavar="JOB", help="a job that will leave the run where the first stage starts")


def run(options: argparse.Namespace) -> int:
    """Print a line per stage."""
    config = config_of(options)

    from custom_modules.cluster.submission import plan_submission

    for line in plan_submission(config, options.first, options.last, options.after):
        print(line)
    return 0
