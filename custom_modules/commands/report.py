"""`danube report`: the paper's Figures 1 and 2, drawn from a run."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the folders."""
    command.add_argument("run_dir", type=path, help="the run's folder")
    command.add_argument("--output", type=path, help="where to write; default: RUN_DIR/report")


def run(options: argparse.Namespace) -> int:
    """Print each file that was drawn."""
    from custom_modules.report import draw

    for drawn in draw(options.run_dir, options.output):
        print(drawn)
    return 0
