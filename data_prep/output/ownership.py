"""What in ``data.dir`` is `prepare`'s own; nothing else there is removed or written over."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_modules.config.schema import TEXT, Config
from custom_modules.data import layout
from custom_modules.data.manifest import SCORES, Manifest
from custom_modules.data.users import record_files
from custom_modules.errors import UserError
from custom_modules.files import PARTIAL
from custom_modules.folder_lock import LOCKS
from custom_modules.made import check_claimable, is_claimed, listed, read_note, remove_empty, write_note
from custom_modules.tokenizer.base import COMPANIONS
from custom_modules.tokenizer.load import FILES
from data_prep.builtin import builtin_corpus
from data_prep.builtin.builtin_corpus import is_builtin
from data_prep.builtin.inputs import list_files
from data_prep.output.manifest import find_manifest
from data_prep.tokenize.assignment import Assignment


def owned(directory: Path) -> set[Path]:
    """Return the files that an earlier `prepare` made, by their path in ``data.dir``.

    They are those of the folder's note; where it has none, as versions before 0.2 left it, those that follow from its
    manifest.
    """
    named = read_note(directory)
    if named is not None:
        return set(map(Path, named))
    manifest = find_manifest(directory)
    return set(_of_manifest(manifest)) if manifest else set()


def _of_manifest(manifest: Manifest) -> Iterator[Path]:
    yield from manifest.files()
    yield from map(Path, (layout.MANIFEST, *layout.CARD))
    folder = manifest.path.parent
    yield from (Path(layout.TOKENIZER) / name for name in (*FILES.values(), *COMPANIONS))
    for path in (folder / layout.REMOVED).glob("*.jsonl.zst") if manifest.options.get("steps") else ():
        if path.name.removesuffix(".jsonl.zst").isdigit():
            yield Path(layout.REMOVED) / path.name


def note(directory: Path, files: Iterable[Path]) -> None:
    """Name the files that are `prepare`'s, or will be when it publishes.

    Raises:
        UserError: the note cannot be written.
    """
    write_note(directory, {str(file): None for file in sorted({*files, Path(layout.MANIFEST)})})


def check_places(config: Config, assignment: Assignment, directory: Path) -> None:
    """Make sure that nothing of somebody else's lies where `prepare` writes.

    Raises:
        UserError: something does; with what to do where an older version may have left it.
    """
    check_targets(directory, _targets(assignment))


def check_targets(directory: Path, targets: Iterable[Path]) -> None:
    """Make sure that nothing of somebody else's lies where a `prepare` of any kind writes.

    Args:
        targets: what it publishes beside the tokenizer and what was removed, by the paths in ``directory``.

    Raises:
        UserError: as `check_places`.
    """
    ours = owned(directory)
    foreign = [directory / layout.OLD_WORK] if os.path.lexists(directory / layout.OLD_WORK) else []
    for name in (layout.TOKENIZER, layout.REMOVED):
        folder = directory / name
        if not os.path.lexists(folder):
            continue
        there = {path.relative_to(directory) for path in folder.rglob("*")} if folder.is_dir() else {Path(name)}
        if there and not there & ours:
            foreign.append(folder)
    if foreign:
        raise UserError(
            f"data.dir={directory}: {listed(foreign)} is not `danube prepare`'s, which would write there; use "
            "another data.dir, or, if an unfinished `danube prepare` of an earlier version left it, rm -r "
            f"{' '.join(map(str, foreign))}"
        )
    check_claimable(directory / layout.WORK, "danube prepare")
    check_files(directory, targets, ours)


def check_files(directory: Path, files: Iterable[Path], ours: set[Path]) -> None:
    """Make sure that files to be written are new or `prepare`'s.

    Args:
        files: paths in ``directory``.
        ours: what `owned` gives.

    Raises:
        UserError: there are others of those names.
    """
    if foreign := [directory / file for file in files if file not in ours and os.path.lexists(directory / file)]:
        raise UserError(
            f"data.dir={directory}: {listed(foreign)} would be written over, but `danube prepare` did not make it; "
            "move it away, or use another data.dir"
        )


def _targets(assignment: Assignment) -> Iterator[Path]:
    yield from map(Path, (layout.MANIFEST, *layout.CARD))
    for stage, source, group in assignment.destinations:
        yield from (Path(stage) / f"{source}_{group}.{suffix}" for suffix in ("bin", "idx", SCORES))


def check_inputs(config: Config, inputs: Mapping[str, Sequence[str]]) -> None:
    """Make sure that nothing that is to be read lies where `prepare` writes, the builtin corpus apart.

    Args:
        inputs: files and folders of every source.

    Raises:
        UserError: naming the key; or an input that is not there, as `list_files` has it.
    """
    given = {name: [path for path in paths if not is_builtin(path)] for name, paths in inputs.items()}
    given = {name: paths for name, paths in given.items() if paths}
    for name, paths in given.items():
        for item in paths:
            _check_outside(config, _input_key(name), Path(item))
    for file in list_files(given, None, Path(config.data.dir), config.data.text_key).files:
        _check_outside(config, _input_key(file.source), Path(file.path))
    if config.model.tokenizer.model is not None:
        _check_outside(config, "model.tokenizer.model", Path(config.model.tokenizer.model))
    for step, options in config.data.steps.chosen.items():
        for option, value in options.items():
            for path in _paths(value):
                _check_outside(config, f"data.steps.{step}.{option}", path)


def _input_key(source: str) -> str:
    return "data.input" if source == TEXT else f"data.sources.{source}"


def _check_outside(config: Config, key: str, path: Path) -> None:
    directory, real = Path(config.data.dir), path.resolve()
    for name in (*layout.FOLDERS, layout.OLD_WORK, *config.curriculum.stages):
        if real.is_relative_to((directory / name).resolve()):
            raise UserError(
                f"{key}={path}: lies in {directory / name}, where `danube prepare` writes; use another data.dir, or "
                "move it"
            )


def _paths(value: Any) -> Iterator[Path]:
    """The files and folders that an option's value names."""
    for item in value if isinstance(value, list) else [value]:
        if isinstance(item, str) and item and Path(item).exists():
            yield Path(item)


def made_in_data(directory: Path) -> Iterator[Path]:
    """Give every file of a ``data.dir`` that `danube prepare` made, with what it makes only in passing."""
    yield from (directory / file for file in owned(directory))
    yield from (directory / name for name in LOCKS)
    yield from record_files(directory)
    yield from builtin_corpus.made_in(directory / layout.RAW)
    for folder in sorted((directory / layout.ONLY).glob("*")):
        yield from (folder / name for name in read_note(folder) or ())
        clear_work(folder)
    clear_work(directory / layout.WORK)


def clear_work(folder: Path) -> None:
    """Remove the folder of what is made on the way, as far as it is `prepare`'s."""
    if not is_claimed(folder):
        return
    for name in layout.IN_WORK:
        for path in (folder / name, *folder.glob(f".{name}.*{PARTIAL}")):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
    remove_empty(folder)
