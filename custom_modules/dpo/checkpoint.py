"""A DPO run's checkpoint: its adapter and optimizer, and what both are of. A folder appears whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from custom_modules.config.dpo import DpoConfig
from custom_modules.dpo.base_model import ADAPTER, ADAPTER_CONFIG, BASE, EARLIER, BaseModel
from custom_modules.dpo.random_state import random_state
from custom_modules.errors import PassingError, UserError, passes
from custom_modules.files import aside_of, publish_folder, sha256_of
from custom_modules.platform.rank_0 import from_every_rank, try_on_rank_0
from custom_modules.run_folder.checkpoint_files import checkpoints_dir, folder_name
from custom_modules.run_folder.metadata import write_metadata
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import record_published
from custom_modules.run_folder.retention import prune_by_age
from custom_modules.run_folder.saving import describe_files, set_aside, why_not_saved

if TYPE_CHECKING:
    from custom_modules.dpo.trainer import PairTrainer

OPTIMIZER, SCHEDULER, STATE = "optimizer.pt", "scheduler.pt", "trainer_state.json"
"""As transformers calls them, which reads them when a run goes on."""
RANDOM = "random_states.pt"
"""The random states of all processes, by rank."""
PROBES = "probes.json"
"""Token ids of a few held-out conversations, to compare an export with the model that was trained."""


def save_checkpoint(
    trainer: PairTrainer,
    config: DpoConfig,
    base: BaseModel,
    probes: list[list[int]],
    progress: Progress,
    keep: set[Path],
) -> Path:
    """Write one checkpoint aside and publish it by a rename. Collective.

    Args:
        base: what the adapter is of; the adapters of earlier runs are copied into the checkpoint.
        probes: token ids of held-out conversations.
        keep: folders that are never pruned, such as damaged ones.

    Returns:
        The published folder.

    Raises:
        UserError: it could not be written (a full disk, say); the older checkpoints stand.
    """
    run_dir = config.run_dir
    target = checkpoints_dir(run_dir) / folder_name(progress.consumed_tokens)
    states = from_every_rank(random_state())

    def write() -> None:
        aside = aside_of(target)
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        digests = _write_parts(aside, trainer, states, base, probes)
        layout = {"data": config.trainer.world_size}
        files = describe_files(aside, digests)
        write_metadata(aside, config, sha256_of(base.tokenizer), files, progress, layout)
        if target.exists():
            set_aside(target)
        publish_folder(aside, target)
        with suppress(UserError):
            record_published(run_dir, progress.consumed_tokens)
        prune_by_age(run_dir, config.exp_manager.checkpoint_callback_params.save_last_n, keep - {target})

    try:
        try_on_rank_0(write)
    except OSError as error:
        message = why_not_saved(error, target, run_dir)
        if torch.distributed.get_rank() == 0:
            shutil.rmtree(aside_of(target), ignore_errors=True)
        raise (PassingError if passes(error) else UserError)(message) from error
    return target


def load_adapter(model: torch.nn.Module, folder: Path) -> None:
    """Set the trained adapter of a model to a checkpoint's."""
    from peft import set_peft_model_state_dict
    from safetensors.torch import load_file

    found = set_peft_model_state_dict(model, load_file(folder / ADAPTER))
    assert not found.unexpected_keys, found.unexpected_keys


def load_random_states(folder: Path) -> list[dict[str, Any]]:
    """Return the random states of all processes that wrote a checkpoint, by rank."""
    states: list[dict[str, Any]] = torch.load(folder / RANDOM, weights_only=False)
    return states


def _write_parts(
    folder: Path, trainer: PairTrainer, states: list[dict[str, Any]], base: BaseModel, probes: list[list[int]]
) -> dict[str, str]:
    """Write all files but the metadata; returns the hashes of the large ones, by name."""
    from peft import get_peft_model_state_dict
    from safetensors.torch import save

    adapter = get_peft_model_state_dict(trainer.model, save_embedding_layers=False)
    trainer.model.peft_config["default"].save_pretrained(str(folder))
    parts = {
        ADAPTER: save({name: tensor.detach().cpu().contiguous() for name, tensor in adapter.items()}, {"format": "pt"}),
        OPTIMIZER: _pickled(trainer.optimizer.state_dict()),
        SCHEDULER: _pickled(trainer.lr_scheduler.state_dict()),
        RANDOM: _pickled(states),
        BASE: json.dumps(base.record(), indent=1).encode(),
        PROBES: json.dumps(probes).encode(),
    }
    # In memory first: torch words a full disk as a fault of its own.
    for name, content in parts.items():
        (folder / name).write_bytes(content)
    trainer.state.save_to_json(str(folder / STATE))
    for number, earlier in enumerate(base.adapters):
        copy = folder / EARLIER / str(number)
        copy.mkdir(parents=True)
        for name in (ADAPTER, ADAPTER_CONFIG):
            shutil.copyfile(earlier / name, copy / name)
    return {name: hashlib.sha256(content).hexdigest() for name, content in parts.items()}


def _pickled(state: object) -> bytes:
    stream = io.BytesIO()
    torch.save(state, stream)
    return stream.getvalue()
