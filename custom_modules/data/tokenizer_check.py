"""Whether a config's tokenizer is the one that its data was prepared with, and ends documents where it has to."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.tokenizer.load import FILES


def check_tokenizer(config: Config, manifest: Manifest) -> Iterator[str]:
    """Refuse another tokenizer than the data's, by library and content, and one that ends no document where it matters.

    Yields:
        What to say of one that is named and isn't there: training takes the copy that is beside the data.

    Raises:
        UserError: the named one is another, or see `check_end_of_text`.
    """
    options, entry = config.model.tokenizer, manifest.tokenizer
    check_end_of_text(config, manifest.eos_id)
    if options.library != entry.library:
        raise UserError(
            f"model.tokenizer.library={options.library}: {manifest.path} was prepared with a tokenizer of "
            f"{entry.library}; set model.tokenizer.library={entry.library}, or prepare the data again"
        )
    if options.model is None:
        return
    path = Path(options.model)
    file = path / FILES[options.library] if path.is_dir() else path
    try:
        content = file.read_bytes()
    except OSError as error:
        why = "is not there" if isinstance(error, FileNotFoundError) else f"cannot be read ({error.strerror})"
        yield f"model.tokenizer.model={path}: {why}, and is not needed: the data has a copy, {manifest.tokenizer_file}"
        return
    if hashlib.sha256(content).hexdigest() != entry.sha256:
        raise UserError(
            f"model.tokenizer.model={path}: another tokenizer than {manifest.path} was prepared with; set "
            "model.tokenizer.model=null for that one, or prepare the data again"
        )


def check_end_of_text(config: Config, eos_id: int) -> None:
    """Refuse data without a token that ends a document, where it means something to the run that one ends.

    Args:
        eos_id: of the prepared data.

    Raises:
        UserError: no token does.
    """
    asked = config.data.keys_of_documents
    if asked and not 0 <= eos_id < config.model.vocab_size:
        raise UserError(
            f"data.{asked[0]}=true: the data in data.dir={config.data.dir} has no end of text (its tokenizer's eos_id "
            f"is {eos_id}), so nothing tells where a document ends; prepare it with a tokenizer that has one, or set "
            f"data.{asked[0]}=false"
        )
