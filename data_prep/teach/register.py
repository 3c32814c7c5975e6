"""What a teacher has said becomes part of the prepared data: named by its manifest, with hashes, and by its card."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.data.manifest import Manifest, Part, read_manifest
from custom_modules.errors import UserError
from custom_modules.files import explained, sha256_of
from custom_modules.folder_lock import folder_lock
from data_prep.output.card import write_card
from data_prep.output.ownership import note, owned

_PATIENCE = 60.0
"""Seconds for another teacher's files to be named."""


def register(config: Config, part: Part, files: Mapping[str, Path], known: Mapping[str, str]) -> Manifest:
    """Name files beside a dataset in the manifest, and write the card again.

    Args:
        part: the dataset's entry.
        files: by their suffix behind the dataset's prefix.
        known: SHA-256 of those of them that were read already.

    Raises:
        UserError: the dataset is another meanwhile, or a file cannot be read or written.
    """
    with explained(None):
        sizes = {suffix: path.stat().st_size for suffix, path in files.items()}
        digests = {suffix: known.get(suffix) or sha256_of(path) for suffix, path in files.items()}
    directory = Path(config.data.dir)
    with _locked(directory):
        manifest = read_manifest(directory)
        if manifest is None or not any(_is_same(there, part) for _, _, there in manifest.datasets()):
            raise UserError(f"{part.prefix}: the data has changed since; run `danube teach` again")
        for splits in manifest.stages.values():
            for split, parts in splits.items():
                splits[split] = [_with(there, sizes, digests) if _is_same(there, part) else there for there in parts]
        ours = {path.relative_to(directory) for path in files.values()}
        note(directory, owned(directory) | ours)
        manifest.write()
        write_card(config, manifest)
    return manifest


def _is_same(there: Part, part: Part) -> bool:
    kinds = ("bin", "idx")
    return there.prefix == part.prefix and all(there.sha256[kind] == part.sha256[kind] for kind in kinds)


def _with(part: Part, sizes: Mapping[str, int], digests: Mapping[str, str]) -> Part:
    return replace(part, bytes={**part.bytes, **sizes}, sha256={**part.sha256, **digests})


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Hold ``data.dir``; wait for another teacher, which holds it for a moment only."""
    deadline = time.monotonic() + _PATIENCE
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(folder_lock(directory, "data.dir"))
                break
            except UserError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        yield
