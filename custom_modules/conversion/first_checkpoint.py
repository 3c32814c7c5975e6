"""The checkpoint that a run begins with, written by a conversion."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from torch.distributed.checkpoint.api import CheckpointException

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.run_folder import checkpoint_files
from custom_modules.tokenizer import Tokenizer, copy_tokenizer


def write_first_checkpoint(
    folder: Path, config: Config, tokenizer: Tokenizer, write: Callable[[Path], Mapping[Path, str]], weights_only: bool
) -> None:
    """Fill a checkpoint folder of a run that has read nothing yet.

    Args:
        folder: existing and empty; the caller publishes it.
        config: the run's from then on.
        tokenizer: a copy goes into the checkpoint.
        write: fills the ``dist/`` folder it is given; returns the SHA-256 of files that it knows.
        weights_only: there is no optimizer state in it.

    Raises:
        UserError, OSError: what ``write`` stumbled over.
    """
    dist, copy = folder / checkpoint_files.DIST, folder / checkpoint_files.TOKENIZER
    dist.mkdir()
    copy.mkdir()
    try:
        digests = write(dist)
    except CheckpointException as error:
        raise _cause(error) from error
    copy_tokenizer(tokenizer, copy)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    metadata = {
        "format": checkpoint_files.FORMAT,
        "consumed_tokens": 0,
        "step": 0,
        "stage": "",
        "is_stage_end": False,
        "weights_only": weights_only,
        "progress": {},
        "layout": {},  # of no ranks: there are no RNG states to restore
        "config": config.model_dump(mode="json"),
        "tokenizer_sha256": tokenizer.sha256,
        "versions": {name: version(name) for name in ("torch", "megatron-core", "danube-pretrain")},
        "files": {
            str(path.relative_to(folder)): {
                "bytes": path.stat().st_size,
                "sha256": digests.get(path) or sha256_of(path),
            }
            for path in files
        },
    }
    (folder / checkpoint_files.METADATA).write_text(json.dumps(metadata, indent=1))


def _cause(error: CheckpointException) -> BaseException:
    """What torch's own error hides: a tensor that could not be read, a stop, or else the disk."""
    failure, _ = next(iter(error.failures.values()))
    chain: BaseException | None = failure
    while chain is not None:
        if isinstance(chain, (UserError, OSError, KeyboardInterrupt, SystemExit)):
            return chain
        chain = chain.__cause__ or chain.__context__
    return OSError(" ".join(str(failure).split()) or type(failure).__name__)
