"""Whether a run has ever published a checkpoint: one that has none left is not one that never had any."""

from __future__ import annotations

from pathlib import Path

from custom_modules.made import read_more, write_note
from custom_modules.run_folder.starts import read_starts

_PUBLISHED = "published_tokens"


def record_published(run_dir: Path, consumed_tokens: int) -> None:
    """Write down in the note of a run's folder that it has published a checkpoint.

    Raises:
        UserError: the note cannot be written.
    """
    write_note(run_dir, {}, {_PUBLISHED: consumed_tokens})


def published_tokens(run_dir: Path) -> int | None:
    """Return the tokens of the last checkpoint that a run published, as far as that is written down; None: none is.

    A run of a version before 0.2 has but the list of its starts under Slurm.
    """
    noted = read_more(run_dir).get(_PUBLISHED)
    started = [start.consumed_tokens for start in read_starts(run_dir) if start.consumed_tokens]
    known = [*([noted] if isinstance(noted, int) else []), *started]
    return max(known) if known else None
