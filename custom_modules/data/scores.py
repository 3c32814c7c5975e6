"""What quality models said of a dataset's documents: ``prefix.scores.parquet``, one row a document, in their order.

It has a float32 column for each model, of the name of its step in ``data.steps``: what that step said of the text as it
was then, before later steps changed it.
"""

from __future__ import annotations

from pathlib import Path

from custom_modules.errors import UserError


def count_scores(path: Path) -> int:
    """Count the rows of a file of scores.

    Raises:
        UserError: the file cannot be read.
    """
    from pyarrow import ArrowException, parquet

    try:
        return int(parquet.read_metadata(path).num_rows)
    except (ArrowException, OSError) as error:
        raise _unreadable(path, error) from None


def read_scores(path: Path, start: int, stop: int) -> list[dict[str, float]]:
    """The scores of some documents, by model; only the row groups that they are in are read.

    Raises:
        UserError: the file cannot be read.
    """
    from pyarrow import ArrowException, parquet

    scores: list[dict[str, float]] = []
    begin = 0
    try:
        with parquet.ParquetFile(path) as file:
            for group in range(file.num_row_groups):
                end = begin + file.metadata.row_group(group).num_rows
                first, last = max(start, begin), min(stop, end)
                if first < last:
                    scores += file.read_row_group(group).slice(first - begin, last - first).to_pylist()
                begin = end
    except (ArrowException, OSError) as error:
        raise _unreadable(path, error) from None
    return scores


def _unreadable(path: Path, error: Exception) -> UserError:
    reason = " ".join(str(error).split())
    return UserError(f"{path}: cannot be read ({reason}); run `danube prepare` again, or copy it again")
