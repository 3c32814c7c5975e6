"""`danube compare`: two evaluations of the same items, and whether the second model is better."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the folders of the evaluations."""
    command.add_argument("first", type=path, metavar="A", help="the folder of an evaluation, of `danube evaluate`")
    command.add_argument("second", type=path, metavar="B", help="that of another one of the same suite")
    command.add_argument(
        "--noise",
        nargs="+",
        type=path,
        default=[],
        metavar="CHECKPOINT",
        help="late checkpoints of one run, or the folders of their evaluations: their spread is shown as the floor",
    )
    command.add_argument("--json", type=path, metavar="FILE", help="write all figures there, too")


def run(options: argparse.Namespace) -> int:
    """Print the figures and a verdict on each task."""
    import json

    from custom_modules.evaluation.compare import compare
    from custom_modules.evaluation.compare_text import render_comparison
    from custom_modules.files import whole_files

    comparison = compare(options.first, options.second, options.noise)
    if options.json:
        whole_files({options.json: json.dumps(comparison.to_json(), indent=1).encode() + b"\n"})
    for line in render_comparison(comparison):
        print(line)
    return 0
