"""The checkpoint that a run begins with, written by a conversion."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.config.schema import Config
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.metadata import describe_file, write_metadata
from custom_modules.tokenizer import Tokenizer, copy_tokenizer


def write_first_checkpoint(
    folder: Path,
    config: Config,
    tokenizer: Tokenizer,
    write: Callable[[Path], Mapping[Path, str]],
    weights_only: bool,
    chat: ChatTokenizer | None = None,
) -> None:
    """Fill a checkpoint folder of a run that has read nothing yet.

    Args:
        folder: existing and empty; the caller publishes it.
        config: the run's from then on.
        tokenizer: a copy goes into the checkpoint.
        write: fills the ``dist/`` folder it is given; returns the SHA-256 of files that it knows.
        weights_only: there is no optimizer state in it.
        chat: the tokenizer with the prompt format, of a model that has seen conversations; its files go there too.

    Raises:
        UserError, OSError: what ``write`` stumbled over.
    """
    dist, copy = folder / checkpoint_files.DIST, folder / checkpoint_files.TOKENIZER
    dist.mkdir()
    copy.mkdir()
    try:
        digests = write(dist)
    except CheckpointException as error:
        raise checkpoint_files.cause_of(error) from error
    copy_tokenizer(tokenizer, copy)
    if chat is not None:
        chat.save(copy)
    written = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = {str(path.relative_to(folder)): describe_file(path, digests.get(path)) for path in written}
    digest = tokenizer.sha256 if chat is None else chat.base_sha256
    write_metadata(folder, config, digest, files, weights_only=weights_only)
