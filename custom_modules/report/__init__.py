"""Figures 1 and 2 of Danube's paper, drawn from a run of one's own."""

from __future__ import annotations

import os
from pathlib import Path

from custom_modules.errors import UserError


def draw(run_dir: Path, output: Path | None = None) -> tuple[Path, ...]:
    """Draw a run's curves as ``figure1.png``, and a self-contained ``index.html`` around them.

    A run on pairs of answers has curves of its own.

    Where the run's stages have several sources, ``figure2.png`` has their shares, and the page too.

    Args:
        run_dir: a run's folder, finished or not, with its ``metrics.jsonl``.
        output: the folder to write to; None: ``run_dir/report``.

    Returns:
        The paths of ``figure1.png``, of the page, and of ``figure2.png`` where there is one.

    Raises:
        UserError: no metrics, a line of them that is damaged, or a file in the way that is no report.
    """
    from custom_modules.files import whole_files
    from custom_modules.report.chat_data import chat_data_tables
    from custom_modules.report.evaluations import render_evaluations
    from custom_modules.report.figure import draw_figure
    from custom_modules.report.ownership import FIGURE, PAGE, SHARES, made_in_report
    from custom_modules.report.page import ALT, ALT_PREFERENCES, ALT_TASKS, render_page
    from custom_modules.report.phases import phases_of_run
    from custom_modules.report.preferences import draw_preferences, is_of_preferences, preference_rows
    from custom_modules.report.shares import draw_shares, shares_of_run
    from custom_modules.report.tasks import task_rows
    from custom_modules.run_folder.best import best_of_run
    from custom_modules.run_folder.history import read_history
    from custom_modules.run_folder.run_config import read_run_config

    history = read_history(run_dir)
    name = run_dir.resolve().name
    aligned = is_of_preferences(history)
    png = draw_preferences(history, name) if aligned else draw_figure(history, name)
    config = read_run_config(run_dir)
    shares = shares_of_run(config) if config and not aligned else ()
    shares_png = draw_shares(shares, f"Data of {name}") if shares else None
    phases = phases_of_run(config) if config and not aligned else ()
    best = () if aligned else best_of_run(run_dir)
    tables = [("Pairs of answers", preference_rows(history))] if aligned else []
    scored = task_rows(history.evaluations)
    tables += [("Tasks while it trained", scored)] if scored else []
    tables += chat_data_tables(config) if config else []
    alt = ALT_PREFERENCES if aligned else f"{ALT}{ALT_TASKS if scored else ''}"
    evaluations = render_evaluations(run_dir, config)
    page = render_page(history, name, png, config, shares_png, phases, best, tables, alt, evaluations)
    folder = output or run_dir / "report"
    files = {folder / FIGURE: png, folder / PAGE: page.encode()}
    if shares_png:
        files[folder / SHARES] = shares_png
    for path in files:
        if os.path.lexists(path) and path not in made_in_report(folder):
            raise UserError(f"{path}: not made by `danube report`, so it is not written over; give another --output")
    whole_files(files)
    return tuple(files)
