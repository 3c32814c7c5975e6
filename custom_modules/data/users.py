"""The runs that were started on prepared data, written down beside it: who replaces the data should know them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from custom_modules.data.layout import USED_BY
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.files import whole_files


@dataclass(frozen=True)
class DataUser:
    """A run, and the data that it was started on."""

    run_dir: Path
    stages: dict[str, str]
    """The digest of each stage's training data."""

    def loses(self, manifest: Manifest | None) -> bool:
        """Tell whether other data stands where the run's was, so that it cannot go on; None: nothing stands there."""
        return manifest is None or any(
            stage not in manifest.stages or manifest.digest(stage) != digest for stage, digest in self.stages.items()
        )


def record_user(manifest: Manifest, run_dir: Path) -> None:
    """Write down that a run uses the data; where that cannot be written, nothing happens."""
    record_digests(manifest.path.parent, run_dir, {stage: manifest.digest(stage) for stage in manifest.stages})


def record_digests(directory: Path, run_dir: Path, stages: Mapping[str, str]) -> None:
    """Write down in a ``data.dir`` that a run uses it; where that cannot be written, nothing happens.

    Args:
        stages: the digest of each stage's training data.
    """
    content = json.dumps({"run_dir": str(run_dir.resolve()), "stages": dict(stages)}).encode()
    with suppress(UserError, OSError):
        whole_files({record_of(directory, run_dir): content})


def users_of(directory: Path) -> Iterator[DataUser]:
    """Give the runs on the data of a folder whose own folders are still there."""
    for path in record_files(directory):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            plain = json.loads(path.read_bytes())
            user = DataUser(Path(plain["run_dir"]), dict(plain["stages"]))
            if user.run_dir.is_dir():
                yield user


def record_files(directory: Path) -> list[Path]:
    """Return the files of `record_user` in a ``data.dir``."""
    names = sorted((directory / USED_BY).glob("*.json"))
    return [path for path in names if len(path.stem) == 16 and not set(path.stem) - set("0123456789abcdef")]


def record_of(directory: Path, run_dir: Path) -> Path:
    """Return the file in a ``data.dir`` that says that a run uses it."""
    return directory / USED_BY / f"{hashlib.sha256(str(run_dir.resolve()).encode()).hexdigest()[:16]}.json"
