"""A report's files, told from others of their names."""

from __future__ import annotations

from pathlib import Path

from custom_modules.report.figure import SOFTWARE
from custom_modules.report.page import ALT

FIGURE = "figure1.png"
PAGE = "index.html"
_HEAD = 4_096


def made_in_report(folder: Path) -> list[Path]:
    """Return the files of a folder that `danube report` drew. A page says whose the figure beside it is, too."""
    page, figure = folder / PAGE, folder / FIGURE
    if f'<img alt="{ALT}"'.encode() in _begin(page):
        return [page, figure]
    return [figure] if SOFTWARE.encode() in _begin(figure) else []


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
