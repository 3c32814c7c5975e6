"""Figure 1 of Danube's paper, drawn from a run of one's own."""

from __future__ import annotations

import os
from pathlib import Path

from custom_modules.errors import UserError


def draw(run_dir: Path, output: Path | None = None) -> tuple[Path, Path]:
    """Draw a run's curves as ``figure1.png``, and a self-contained ``index.html`` around them.

    Args:
        run_dir: a run's folder, finished or not, with its ``metrics.jsonl``.
        output: the folder to write to; None: ``run_dir/report``.

    Returns:
        The paths of the PNG and of the HTML page.

    Raises:
        UserError: no metrics, a line of them that is damaged, or a file in the way that is no report.
    """
    from custom_modules.files import whole_files
    from custom_modules.report.figure import draw_figure
    from custom_modules.report.ownership import FIGURE, PAGE, made_in_report
    from custom_modules.report.page import render_page
    from custom_modules.run_folder.history import read_history
    from custom_modules.run_folder.run_config import read_run_config

    history = read_history(run_dir)
    name = run_dir.resolve().name
    png = draw_figure(history, name)
    page = render_page(history, name, png, read_run_config(run_dir))
    folder = output or run_dir / "report"
    figure, html = folder / FIGURE, folder / PAGE
    for path in (figure, html):
        if os.path.lexists(path) and path not in made_in_report(folder):
            raise UserError(f"{path}: not made by `danube report`, so it is not written over; give another --output")
    whole_files({figure: png, html: page.encode()})
    return figure, html
