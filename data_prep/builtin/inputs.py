"""The input files that a config means, those of the builtin corpus among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path

from custom_modules.config.schema import TEXT, Config
from custom_modules.data.layout import is_prepared
from custom_modules.errors import UserError
from data_prep.builtin import builtin_corpus
from data_prep.builtin.builtin_corpus import is_builtin
from data_prep.input.input_files import Listing, find_input_files
from data_prep.work.progress import say
from data_prep.work.workers import Pool


def inputs_of(config: Config) -> dict[str, list[str]]:
    """Files and folders of every source.

    Raises:
        UserError: there are none.
    """
    given = config.data.sources or {TEXT: config.data.input or []}
    inputs = {name: [paths] if isinstance(paths, str) else list(paths) for name, paths in given.items()}
    if inputs == {TEXT: []}:
        mixed = dict.fromkeys(source for stage in config.curriculum.stages.values() for source in stage.mix or ())
        if mixed:
            each = " ".join(f"data.sources.{name}=FOLDER" for name in mixed)
            raise UserError(f"data.sources={{}}: no text to prepare; the stages mix several sources: give {each}")
        raise UserError(
            "data.input=null: no text to prepare; give files or folders (data.input=FOLDER, data.input=[FILE,FILE]), "
            "data.input=builtin, or data.sources"
        )
    return inputs


def has_builtin(inputs: Mapping[str, Sequence[str]]) -> bool:
    """Say whether the builtin corpus, or a piece of it, is among the inputs."""
    return any(map(is_builtin, chain.from_iterable(inputs.values())))


def collect_builtin(
    inputs: Mapping[str, Sequence[str]], folder: Path, text_key: str, workers: Pool
) -> dict[str, Path] | None:
    """Return the builtin corpus's pieces, written to ``folder`` if they are not there; None where none is an input."""
    if not has_builtin(inputs):
        return None
    pieces = builtin_corpus.find_corpus(folder, text_key)
    if pieces is None:
        builtin_corpus.check_place(folder)
        say("collecting the English text of this Python installation")
        pieces = builtin_corpus.write_corpus(folder, text_key, workers)
    return pieces


def list_files(
    inputs: Mapping[str, Sequence[str]], corpus: Mapping[str, Path] | None, directory: Path, text_key: str
) -> Listing:
    """List the files of the inputs, and what is passed over.

    Args:
        corpus: what `collect_builtin` returned.
        directory: a folder to leave out: where the result goes.
        text_key: the field of a record that holds the text.

    Raises:
        UserError: see `data_prep.input.input_files.find_input_files`.
    """
    paths = {
        name: [
            path
            for item in items
            for path in (builtin_corpus.files_of(item, corpus) if corpus and is_builtin(item) else [Path(item)])
        ]
        for name, items in inputs.items()
    }
    return find_input_files(paths, directory, text_key, is_prepared)
