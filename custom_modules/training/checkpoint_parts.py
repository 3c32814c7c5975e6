"""Whether a checkpoint has all that is asked of it: megatron-core would say it in the middle of loading."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedObject, ShardedTensor, ShardedTensorFactory
from torch.distributed.checkpoint import FileSystemReader

from custom_modules.errors import UserError
from custom_modules.platform.rank_0 import from_every_rank
from custom_modules.platform.requirements import MEGATRON
from custom_modules.run_folder.checkpoint_files import COMMON, Checkpoint

_FORMAT_FILE, _INDEX_FILE = "metadata.json", ".metadata"


def require_files(checkpoint: Checkpoint) -> None:
    """Raises UserError, naming the first that is missing, unless megatron-core's files are all there."""
    for name in (_FORMAT_FILE, _INDEX_FILE, COMMON):
        if not (checkpoint.dist / name).is_file():
            raise _lacks(checkpoint, name)
    stored = FileSystemReader(checkpoint.dist).read_metadata().storage_data or {}
    for name in sorted({place.relative_path for place in stored.values()}):
        if not (checkpoint.dist / name).is_file():
            raise _lacks(checkpoint, name)


def require_entries(state: dict[str, Any], checkpoint: Checkpoint) -> None:
    """Raises UserError on every rank, naming the first entry of any rank's that the checkpoint lacks. Collective.

    Args:
        state: what the checkpoint is asked for, in megatron-core's sharded form.
    """
    stored = FileSystemReader(checkpoint.dist).read_metadata().state_dict_metadata
    absent = [name for name in _names(state) if name not in stored]
    for names in from_every_rank(absent):
        if names:
            raise _lacks(checkpoint, names[0], len(set(names)) - 1)


def require_clock(optimizer: Any, checkpoint: Checkpoint) -> None:
    """Raises UserError unless what was loaded for the optimizer has its parameter groups and its step count.

    Without the count the correction of the moments would begin anew, and the losses be others.
    """
    groups = [group for part in _values_of("param_groups", optimizer) for group in part]
    if not all(group.keys() - {"params"} for group in groups):  # the parameters are this run's
        raise _lacks(checkpoint, "optimizer.param_groups")
    steps = [*_values_of("common_step", optimizer), *_values_of("step", groups)]
    if not steps:
        raise _lacks(checkpoint, "optimizer.step")


def _lacks(checkpoint: Checkpoint, name: str, more: int = 0) -> UserError:
    written = (checkpoint.metadata.get("versions") or {}).get(MEGATRON)
    others = f" and {more} more" if more else ""
    return UserError(
        f"{checkpoint.dist}: {name}{others} is missing, of what {MEGATRON} {written or 'of an unknown version'} has "
        f"written; nothing was changed: put {checkpoint.path.name} back from a copy, or move it away to go on from the "
        "one before it"
    )


def _names(state: Any) -> Iterator[str]:
    """Give the names that the entries of a state have in a checkpoint."""
    for entry in nested_values(state):
        if isinstance(entry, ShardedTensorFactory):
            yield from _names(entry.build())
        elif isinstance(entry, ShardedObject):
            yield str(entry.unique_key)
        elif isinstance(entry, ShardedTensor):
            yield str(entry.key)


def _values_of(name: str, state: Any) -> Iterator[Any]:
    """Give what has a name, wherever it is in dictionaries and lists."""
    if isinstance(state, dict):
        if name in state:
            yield state[name]
        for inner in state.values():
            yield from _values_of(name, inner)
    elif isinstance(state, list):
        for inner in state:
            yield from _values_of(name, inner)
