"""`danube train-quality`: a small model that scores the quality of texts."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import is_override, path
from custom_modules.errors import UserError


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the kind, the folder, the texts and the model's own options."""
    command.add_argument("kind", choices=("gbm", "encoder"), help="LightGBM on the heuristics' features, or a BERT")
    command.add_argument("output", type=path, help="the model's folder to write")
    for name, text in (
        ("good", "reference text"),
        ("raw", "text to tell it from"),
        ("labelled", "JSON lines with a label or score, instead of both"),
    ):
        command.add_argument(f"--{name}", type=path, action="append", default=[], metavar="PATH", help=text)
    command.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    command.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options: data_prep/quality/options.py")


def run(options: argparse.Namespace) -> int:
    """Train, and print the report."""
    from data_prep.quality.train import train_quality

    wrong = [word for word in options.overrides if not is_override(word)]
    if wrong:
        raise UserError(f"{wrong[0]}: not KEY=VALUE; see danube train-quality --help")
    given = dict(word.split("=", 1) for word in options.overrides)
    report = train_quality(options.kind, options.output, options.good, options.raw, options.labelled, given)
    print(report.as_json() if options.json else report.as_text())
    return 0
