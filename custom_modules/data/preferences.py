"""Prepared pairs of answers: Parquet files under a manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from custom_modules.config.dpo import DpoConfig
from custom_modules.errors import UserError
from custom_modules.files import sha256_of


@dataclass(frozen=True)
class Preferences:
    """What a folder of prepared pairs holds."""

    path: Path
    train: Path
    validation: Path
    sha256: dict[str, str]

    def digest(self) -> str:
        """Return what says whether the training data is the same."""
        return hashlib.sha256(self.sha256[self.train.name].encode()).hexdigest()

    def verify(self) -> None:
        """Compare the files with their hashes.

        Raises:
            UserError: one has changed.
        """
        for path in (self.train, self.validation):
            if sha256_of(path) != self.sha256[path.name]:
                raise UserError(f"{path}: changed after it was prepared; prepare it again")


def load_preferences(config: DpoConfig) -> Preferences:
    """Open the prepared pairs of a config.

    Raises:
        UserError: there are none.
    """
    folder = Path(config.data.dir)
    try:
        plain = json.loads((folder / "manifest.json").read_bytes())
    except OSError as error:
        raise UserError(f"data.dir={folder}: no prepared pairs there ({error.strerror}); run danube prepare") from None
    return Preferences(
        folder / "manifest.json", folder / "train.parquet", folder / "validation.parquet", plain["files"]
    )
