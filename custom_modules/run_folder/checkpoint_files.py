"""Checkpoint folders: their names and integrity, and what each says of its run. Needs neither torch nor megatron."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.config.kinds import KINDS, kind_name
from custom_modules.config.load import validate, with_defaults
from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of
from custom_modules.run_folder.metadata import METADATA, read_metadata
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import published_tokens
from custom_modules.threads import in_threads

DIST = "dist"
COMMON = "common.pt"
"""The file in `DIST` of what is the same on every rank, such as the optimizer's step count."""
TOKENIZER = "tokenizer"
_READ_AT_ONCE = 4
"""Files that are hashed at a time."""


@dataclass(frozen=True)
class Checkpoint:
    """One published checkpoint folder."""

    path: Path
    metadata: dict[str, Any]

    @property
    def consumed_tokens(self) -> int:
        return int(self.metadata["consumed_tokens"])

    @property
    def step(self) -> int:
        return int(self.metadata["step"])

    @property
    def stage(self) -> str:
        """The stage that its last step belonged to."""
        return str(self.metadata["stage"])

    @property
    def is_stage_end(self) -> bool:
        return bool(self.metadata.get("is_stage_end", False))

    @property
    def tokenizer_sha256(self) -> str | None:
        return self.metadata.get("tokenizer_sha256")

    @property
    def dist(self) -> Path:
        """megatron-core's dist-checkpointing folder."""
        return self.path / DIST

    @property
    def tokenizer(self) -> Path:
        """The folder of the tokenizer that the run was trained with."""
        return self.path / TOKENIZER

    @property
    def progress(self) -> Progress:
        """Where the run was; a fresh one's if a conversion wrote the checkpoint."""
        return Progress.read(self.metadata.get("progress", {}))

    @property
    def layout(self) -> dict[str, int]:
        """The ranks by kind of parallelism that wrote it; empty if a conversion did."""
        return {str(kind): int(ranks) for kind, ranks in self.metadata["layout"].items()}

    @property
    def plain_config(self) -> dict[str, Any]:
        """The config of the run that wrote it, as it was stored."""
        return dict(self.metadata["config"])

    @property
    def weights_only(self) -> bool:
        """Whether it comes from a conversion: a run begins with its weights, and everything else anew."""
        return bool(self.metadata.get("weights_only", False))

    def config(self) -> TrainingConfig:
        """The config of the run that wrote it; keys that are newer than the checkpoint have their defaults.

        Raises:
            UserError: the run trained adapters alone.
        """
        plain = with_defaults(self.plain_config)
        kind = KINDS[kind_name(plain)]
        if not issubclass(kind, TrainingConfig):
            raise UserError(f"{self.path}: of a run of `danube {kind_name(plain)}`, which has no weights of its own")
        return validate(plain, kind=kind)


def folder_name(consumed_tokens: int) -> str:
    return f"tokens_{consumed_tokens:018d}"


def checkpoints_dir(run_dir: Path) -> Path:
    return run_dir / "checkpoints"


def cause_of(error: BaseException) -> BaseException:
    """Return what torch's ``CheckpointException`` hides: a tensor that could not be read, a stop, or else the disk.

    Any other error is its own cause.
    """
    failures = getattr(error, "failures", None)
    if not failures:
        return error
    failure, _ = next(iter(failures.values()))
    chain: BaseException | None = failure
    while chain is not None:
        if isinstance(chain, (UserError, OSError, KeyboardInterrupt, SystemExit)):
            return chain
        chain = chain.__cause__ or chain.__context__
    return OSError(" ".join(str(failure).split()) or type(failure).__name__)


def open_checkpoint(path: Path, verify_contents: bool = True) -> Checkpoint:
    """Read one checkpoint folder and check that it is whole.

    Args:
        path: a ``tokens_...`` folder.
        verify_contents: compare every file's SHA-256 too, not only its size.

    Raises:
        UserError: what is missing or damaged in it.
    """
    metadata = read_metadata(path)
    named: dict[str, Any] = metadata["files"]
    faults = [_misfit(path, name, expected) for name, expected in named.items()]
    if verify_contents and not any(faults):
        faults = in_threads(lambda name: _change(path, name, named[name]["sha256"]), named, _READ_AT_ONCE)
    if found := next(filter(None, faults), None):
        raise UserError(found)
    return Checkpoint(path, metadata)


def _misfit(path: Path, name: str, expected: Any) -> str | None:
    """Say what is wrong with a file as far as it can be seen without reading it."""
    damaged = f"{path}: damaged:"
    if not isinstance(expected, dict) or not {"bytes", "sha256"} <= expected.keys():
        return f"{damaged} {METADATA} does not describe {name}"
    try:
        if not (path / name).is_file():
            return f"{damaged} {name} is missing"
        size = (path / name).stat().st_size
    except OSError as error:
        return _unreadable(path / name, error)
    return f"{damaged} {name} has {size} bytes, not {expected['bytes']}" if size != expected["bytes"] else None


def _change(path: Path, name: str, sha256: str) -> str | None:
    try:
        is_as_written = sha256_of(path / name) == sha256
    except OSError as error:
        return _unreadable(path / name, error)
    return None if is_as_written else f"{path}: damaged: the contents of {name} changed after it was written"


def _unreadable(file: Path, error: OSError) -> str:
    return f"{file}: cannot be read ({error.strerror}); put that right"


def list_folders(run_dir: Path) -> list[Path]:
    """Published checkpoint folders, oldest first; unfinished ones have other names.

    Raises:
        UserError: what is there cannot be listed.
    """
    root = checkpoints_dir(run_dir)
    try:
        there = [*root.iterdir()]  # glob would take a folder that cannot be read for an empty one
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise UserError(f"{root}: cannot be listed ({error.strerror}); the run's checkpoints are to be there") from None
    return sorted(path for path in there if path.name.startswith("tokens_") and path.name[7:].isdigit())


def find_newest(run_dir: Path, verify_contents: bool = True) -> tuple[Checkpoint | None, list[str]]:
    """The newest whole checkpoint of a run, and a line for every damaged one that is newer. Nothing is deleted.

    Returns:
        None for the checkpoint of a run that has published none.

    Raises:
        UserError: the run has published checkpoints, and none that is whole is left: it does not begin anew by itself.
    """
    damaged: list[str] = []
    for path in reversed(list_folders(run_dir)):
        try:
            return open_checkpoint(path, verify_contents), damaged
        except UserError as error:
            damaged.append(str(error))
    tokens = published_tokens(run_dir)
    if not damaged and tokens is None:
        return None, []
    others = f", and {len(damaged) - 1} older" if len(damaged) > 1 else ""
    reason = f"{damaged[0]}{others}" if damaged else f"there was one of {tokens:,} tokens"
    raise UserError(
        f"{checkpoints_dir(run_dir)}: no whole checkpoint is left ({reason}); put one back from a copy, its hidden "
        "files too (cp -a, rsync -a), or set another exp_manager.name to begin anew"
    )


def resolve(source: Path, verify_contents: bool = True) -> Checkpoint:
    """A checkpoint folder as given, or the newest one of a run folder.

    Args:
        verify_contents: as `open_checkpoint` has it.

    Raises:
        UserError: there is none, or it is damaged or unreadable: an older one is used only if it is given by name.
    """
    with readable(source):
        return _resolve(source, verify_contents)


def _resolve(source: Path, verify_contents: bool) -> Checkpoint:
    if (source / METADATA).is_file() or source.name.startswith("tokens_"):
        return open_checkpoint(source, verify_contents)
    if not source.is_dir():
        raise UserError(f"{source}: no such folder; give a run folder or one of its checkpoints/tokens_... folders")
    checkpoint, damaged = find_newest(source, verify_contents)
    if checkpoint is None:
        raise UserError(
            f"{source}: no whole checkpoint in {checkpoints_dir(source)}: none was published; train it up to its first "
            "save, or give another run"
        )
    if damaged:
        raise UserError(f"{damaged[0]}; {checkpoint.path} before it is whole: give that one")
    return checkpoint
