"""A report's files, told from others of their names."""

from __future__ import annotations

from pathlib import Path

from custom_modules.report.figure import SOFTWARE
from custom_modules.report.page import ALT, ALT_PREFERENCES

FIGURE = "figure1.png"
SHARES = "figure2.png"
PAGE = "index.html"
_HEAD = 4_096


def made_in_report(folder: Path) -> list[Path]:
    """Return the files of a folder that `danube report` drew.

    A page says whose the figure beside it is, too: versions before 0.2 drew that one alone, without their name in it.
    """
    page, figure = folder / PAGE, folder / FIGURE
    drawn = [path for path in (figure, folder / SHARES) if SOFTWARE.encode() in _begin(path)]
    if any(f'<img alt="{alt}'.encode() in _begin(page) for alt in (ALT, ALT_PREFERENCES)):
        drawn += [page, figure]
    return sorted(set(drawn))


def _begin(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_HEAD)
    except OSError:
        return b""
