"""Saving and loading a run through megatron-core's dist-checkpointing; a folder appears whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedObject
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    TorchDistSaveShardedStrategy,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)

from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import PassingError, UserError, passes
from custom_modules.files import aside_of, publish_folder
from custom_modules.model.language_model import LanguageModel
from custom_modules.platform.megatron_versions import know_groups_by_rates, save_common_state
from custom_modules.platform.rank_0 import from_every_rank, on_rank_0, try_on_rank_0, waiting_group
from custom_modules.run_folder import checkpoint_files as files
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.hashed_files import HashedFiles
from custom_modules.run_folder.metadata import write_metadata
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import record_published
from custom_modules.run_folder.retention import prune
from custom_modules.run_folder.saving import describe_files, set_aside, why_not_saved
from custom_modules.training import fsdp
from custom_modules.training.checkpoint_parts import require_clock, require_entries, require_files
from custom_modules.training.engine import Engine
from custom_modules.training.optimizer import forget_moments
from custom_modules.training.parallel import gather_parameters
from custom_modules.training.random_state import random_state, set_random_state
from custom_modules.training.te_state import pickles_allowed, place_step, take_out_absent

OPTIMIZER_SHARDING = {"distrib_optim_sharding_type": "fully_reshardable"}
"""The distributed optimizer's format that loads under another TP, PP or DP."""


class DcpSaveStrategy(TorchDistSaveShardedStrategy):
    """megatron-core's `torch_dist` format, written by torch's own DCP in this process.

    megatron-core's writer forks a process per file and spawns another for their answers: seconds on every save of a
    small model, and an error in one of them, a full disk say, does not always reach the others. The files are the same.
    Each is hashed while it is written, and the processes wait for the slowest, however long that takes.
    """

    sha256: dict[Path, str]
    """The hashes of the files that this process has written."""

    def save(self, sharded_state_dict: Any, checkpoint_dir: Any) -> None:
        save_common_state(sharded_state_dict, Path(checkpoint_dir) / files.COMMON)
        renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, self.keep_only_main_replica)
        writer = dcp.FileSystemWriter(checkpoint_dir, thread_count=1, sync_files=True)
        writer.fs = hashed = HashedFiles()
        dcp.save(
            mcore_to_pyt_state_dict(renamed, False),
            storage_writer=writer,
            planner=MCoreSavePlanner(
                dedup_replicated_tensors=not self.keep_only_main_replica, flatten_state_dict=False
            ),
            process_group=waiting_group(),
        )
        self.sha256 = hashed.sha256


def save_checkpoint(
    engine: Engine,
    run_dir: Path,
    progress: Progress,
    tokenizer: Path,
    tokenizer_sha256: str,
    keep: set[Path],
    prunes: bool = True,
) -> Path:
    """Write one checkpoint aside and publish it by a rename. Collective.

    Args:
        tokenizer: the folder of the tokenizer the data was encoded with; a copy goes into the checkpoint.
        keep: folders that are never pruned, such as damaged ones.
        prunes: whether older ones are pruned at all.

    Returns:
        The published folder.

    Raises:
        UserError: it could not be written (a full disk, say); the older checkpoints stand.
    """
    target = files.checkpoints_dir(run_dir) / files.folder_name(progress.consumed_tokens)
    kept = engine.config.exp_manager.checkpoint_callback_params

    def conclude() -> None:
        with suppress(UserError):
            record_published(run_dir, progress.consumed_tokens)
        if prunes:
            prune(run_dir, kept, keep - {target})

    try:
        gather_parameters(engine.models)
        state = _state(engine, is_loading=False)
        write_checkpoint(target, state, engine.config, tokenizer, tokenizer_sha256, progress, _layout())
        try_on_rank_0(conclude)
    except (OSError, dcp.api.CheckpointException) as error:
        message = why_not_saved(error, target, run_dir)
        if torch.distributed.get_rank() == 0:
            shutil.rmtree(aside_of(target), ignore_errors=True)
        raise (PassingError if passes(error) else UserError)(message) from error
    return target


def write_checkpoint(
    target: Path,
    state: dict[str, Any],
    config: TrainingConfig,
    tokenizer: Path,
    tokenizer_sha256: str,
    progress: Progress,
    layout: Mapping[str, int],
) -> None:
    """Write a state aside, with all that a checkpoint has beside it, and publish the folder. Collective.

    Raises:
        OSError, CheckpointException: the disk refuses; on every process, but for megatron-core's own small files, which
            rank 0 writes.
    """
    aside = aside_of(target)

    def begin() -> None:
        shutil.rmtree(aside, ignore_errors=True)
        (aside / files.DIST).mkdir(parents=True)
        shutil.copytree(tokenizer, aside / files.TOKENIZER)

    def publish() -> None:
        write_metadata(aside, config, tokenizer_sha256, describe_files(aside, digests), progress, layout)
        if target.exists():
            set_aside(target)
        publish_folder(aside, target)

    try_on_rank_0(begin)
    strategy = DcpSaveStrategy("torch_dist", 1)
    dist_checkpointing.save(state, str(aside / files.DIST), strategy)
    written = from_every_rank({path.name: digest for path, digest in strategy.sha256.items()})
    digests = {f"{files.DIST}/{name}": digest for part in written for name, digest in part.items()}
    try_on_rank_0(publish)


def load_checkpoint(engine: Engine, checkpoint: Checkpoint) -> Progress:
    """Restore weights, optimizer, clock and, under the same layout, the RNGs. Collective.

    The engine may have trained meanwhile: nothing is left of that but the RNGs under another layout.

    Returns:
        The progress that was saved; a fresh one if a conversion wrote the checkpoint.
    """
    if checkpoint.weights_only:
        load_initial_weights(engine, checkpoint)
        return Progress()
    same_layout = {"context": 1, **checkpoint.layout} == _layout()
    loaded = _load(_state(engine, is_loading=True, with_rng=same_layout), engine.chunks, checkpoint)
    require_clock(loaded["optimizer"], checkpoint)
    place_step(loaded["optimizer"], engine.optimizer)
    know_groups_by_rates(loaded["optimizer"], engine.optimizer.param_groups)
    settings = [_settings(group) for group in engine.optimizer.param_groups]
    with torch.no_grad():
        if engine.config.model.fsdp:
            fsdp.set_optimizer_state(engine.optimizer, loaded["optimizer"])
        else:
            engine.optimizer.load_state_dict(loaded["optimizer"])
    for group, configured in zip(engine.optimizer.param_groups, settings, strict=True):
        group.update(configured)
    if same_layout:
        set_random_state(loaded["rng"])
    progress = checkpoint.progress
    progress.begin_after_checkpoint()
    engine.set_clock(progress.consumed_tokens)
    return progress


def load_initial_weights(engine: Engine, checkpoint: Checkpoint) -> None:
    """Begin with a checkpoint's weights, and everything else anew. Collective."""
    load_weights(engine.chunks, checkpoint)
    forget_moments(engine.optimizer)
    engine.optimizer.reload_model_params()
    engine.set_clock(0)


def _settings(group: dict[str, Any]) -> dict[str, Any]:
    """A parameter group's learning rate, betas and the like, as configured: a carried optimizer had another run's."""
    return {name: value for name, value in group.items() if name not in ("params", "step")}


def load_weights(chunks: Sequence[LanguageModel], checkpoint: Checkpoint) -> None:
    """Only the weights: for conversion and verification, whatever the layout they were saved under."""
    _load(_weights(chunks), chunks, checkpoint)


def _load(state: dict[str, Any], chunks: Sequence[LanguageModel], checkpoint: Checkpoint) -> dict[str, Any]:
    """Read a state that has the chunks' weights among it, and set those."""
    on_rank_0(partial(require_files, checkpoint))
    absent = {name: take_out_absent(state[name], checkpoint.dist) for name in _names(chunks)}
    require_entries(state, checkpoint)
    loaded = dist_checkpointing.load(state, str(checkpoint.dist))
    for name, chunk in zip(absent, chunks, strict=True):
        weights = loaded[name] | absent[name]
        with pickles_allowed():
            if fsdp.is_sharded(chunk):
                fsdp.set_weights(chunk, weights)
            else:
                chunk.load_state_dict(weights)
    return loaded


def _weights(chunks: Sequence[LanguageModel]) -> dict[str, Any]:
    """Return the weights by chunk, under Megatron's names. In the files a layer is known by its place in the whole
    model."""
    return {
        name: fsdp.sharded_state_dict(chunk) if fsdp.is_sharded(chunk) else chunk.sharded_state_dict()
        for name, chunk in zip(_names(chunks), chunks, strict=True)
    }


def _names(chunks: Sequence[LanguageModel]) -> list[str]:
    return ["model"] if len(chunks) == 1 else [f"model{number}" for number in range(len(chunks))]


def _state(engine: Engine, is_loading: bool, with_rng: bool = True) -> dict[str, Any]:
    weights = _weights(engine.chunks)
    if engine.config.model.fsdp:
        optimizer = fsdp.sharded_optimizer_state(engine.optimizer, engine.chunks[0], weights["model"], is_loading)
    else:
        optimizer = engine.optimizer.sharded_state_dict(weights, is_loading=is_loading, metadata=OPTIMIZER_SHARDING)
    state = {**weights, "optimizer": optimizer}
    if with_rng:
        layout = _layout()
        shape = (layout["pipeline"], layout["tensor"], layout["data"] * layout["context"])
        place = (
            parallel_state.get_pipeline_model_parallel_rank(),
            parallel_state.get_tensor_model_parallel_rank(),
            parallel_state.get_data_parallel_rank(with_context_parallel=True),
        )
        state["rng"] = ShardedObject("rng", random_state(), shape, place)
    return state


def _layout() -> dict[str, int]:
    return {
        "tensor": parallel_state.get_tensor_model_parallel_world_size(),
        "pipeline": parallel_state.get_pipeline_model_parallel_world_size(),
        "context": parallel_state.get_context_parallel_world_size(),
        "data": parallel_state.get_data_parallel_world_size(),
    }
