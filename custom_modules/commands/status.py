"""`danube status`: how far a run is."""

from __future__ import annotations

import argparse

from custom_modules.commands.options import path


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the run's folder, and the option of form."""
    command.add_argument("run_dir", type=path, help="the run's folder")
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Print the status."""
    from custom_modules.run_folder.run_config import read_run_config

    plain = read_run_config(options.run_dir)
    if plain is not None and plain.get("kind") in ("sft", "dpo"):
        from custom_modules.cluster import sample_status

        found = sample_status.read_sample_status(options.run_dir, plain)
        print(sample_status.as_json(found) if options.json else sample_status.render_status(found))
        return 0
    from custom_modules.cluster.status import as_json, read_status, render_status

    status = read_status(options.run_dir)
    print(as_json(status) if options.json else render_status(status))
    return 0
