"""``python -m custom_modules.clean FOLDER ...``: take out of folders what `danube` made, and say what is left."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from custom_modules.made import NOTE, read_note, remove_empty, strangers


def clean(folder: Path) -> list[Path]:
    """Remove what `danube` made of a ``data.dir``, a run's folder or an export.

    Returns:
        The files that are left: somebody else's.
    """
    for path in list(_made(folder)):
        with suppress(OSError):
            path.unlink()
    with suppress(OSError):
        (folder / NOTE).unlink()
    remove_empty(folder)
    return sorted(path for path in folder.rglob("*") if not path.is_dir())


def _made(folder: Path) -> Iterator[Path]:
    from custom_modules.data.layout import is_prepared
    from custom_modules.report.ownership import made_in_report
    from custom_modules.run_folder.ownership import is_run, made_in_run
    from data_prep.output.ownership import made_in_data

    if is_prepared(folder):
        yield from made_in_data(folder)
    elif is_run(folder):
        yield from made_in_run(folder)
        yield from made_in_report(folder / "report")
    else:
        others = set(strangers(folder))
        yield from (folder / name for name in read_note(folder) or () if folder / name not in others)


def main(arguments: Sequence[str]) -> int:
    """Clean every folder that is there."""
    for folder in map(Path, arguments):
        for path in clean(folder) if folder.is_dir() else []:
            print(f"left, since danube did not make it: {path}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
