"""Figures 1 and 2 of Danube's paper, drawn from a run of one's own."""

from __future__ import annotations

from pathlib import Path


def draw(run_dir: Path, output: Path | None = None) -> tuple[Path, ...]:
    """Draw a run's curves as ``figure1.png``, and a self-contained ``index.html`` around them.

    Where the run's stages have several sources, ``figure2.png`` has their shares, and the page too.

    Args:
        run_dir: a run's folder, finished or not, with its ``metrics.jsonl``.
        output: the folder to write to; None: ``run_dir/report``.

    Returns:
        The paths of ``figure1.png``, of the page, and of ``figure2.png`` where there is one.

    Raises:
        UserError: no metrics, or a line of them that is damaged.
    """
    from custom_modules.files import whole_files
    from custom_modules.report.figure import draw_figure
    from custom_modules.report.page import render_page
    from custom_modules.report.shares import draw_shares, shares_of_run
    from custom_modules.run_folder.history import read_history
    from custom_modules.run_folder.run_config import read_run_config

    history = read_history(run_dir)
    name = run_dir.resolve().name
    png = draw_figure(history, name)
    config = read_run_config(run_dir)
    shares = shares_of_run(config) if config else ()
    shares_png = draw_shares(shares, f"Data of {name}") if shares else None
    page = render_page(history, name, png, config, shares_png)
    folder = output or run_dir / "report"
    files = {folder / "figure1.png": png, folder / "index.html": page.encode()}
    if shares_png:
        files[folder / "figure2.png"] = shares_png
    whole_files(files)
    return tuple(files)
