"""Whether the tokenizer that a config names is the one that its data was prepared with."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.tokenizer.load import FILES


def check_tokenizer(config: Config, manifest: Manifest) -> Iterator[str]:
    """Refuse another tokenizer than the data's, by library and content.

    Yields:
        What to say of one that is named and isn't there: training takes the copy that is beside the data.

    Raises:
        UserError: the named one is another.
    """
    options, entry = config.model.tokenizer, manifest.tokenizer
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
