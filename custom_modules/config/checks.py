"""Contradictions between keys, found before anything is built."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from custom_modules.architecture.alibi import LONGEST_FOLDED
from custom_modules.architecture.interface import POSITIONS
from custom_modules.config.batch import check_batch
from custom_modules.config.chat_checks import check_chat_sources, check_warmup_epochs
from custom_modules.config.chat_data import ChatDataConfig
from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.document_checks import check_documents
from custom_modules.config.loss_spike_checks import check_loss_spike
from custom_modules.config.marks import parts_of
from custom_modules.config.model_parts import (
    AdamConfig,
    ArchitectureConfig,
    BatchConfig,
    DividedModelConfig,
    EpochSchedConfig,
    MegatronOptimConfig,
    OptimConfig,
    PrecisionConfig,
)
from custom_modules.config.parallelism import check_fsdp, check_parallelism, near
from custom_modules.config.precision import check_gradients, check_precision, check_stage_precision
from custom_modules.config.pretraining_parts import CurriculumConfig, ReportedConfig
from custom_modules.config.rampup_checks import check_rampup
from custom_modules.config.recompute import check_recompute
from custom_modules.config.schema import (
    CheckpointConfig,
    Config,
    DevicesConfig,
    ExpManagerConfig,
    FolderConfig,
    PreparedDataConfig,
    RunConfig,
    TextConfig,
    TrainingConfig,
)
from custom_modules.config.stage_keys import seq_length, seq_length_key
from custom_modules.errors import UserError


def _check_heads(config: Config) -> None:
    model = config.model
    heads, groups = model.num_attention_heads, model.num_query_groups
    if heads % groups:
        raise UserError(
            f"model.num_query_groups={groups}: does not divide model.num_attention_heads={heads}; "
            f"use a divisor of {heads}"
        )
    multiple = POSITIONS[model.position_embedding_type]
    together = multiple * heads
    if model.kv_channels is None and model.hidden_size % together:
        factor = f"{multiple} x " if multiple > 1 else ""
        why = " (rotary embeddings need an even head dim)" if multiple > 1 else ""
        raise UserError(
            f"model.hidden_size={model.hidden_size}: not a multiple of {factor}model.num_attention_heads={heads}{why}; "
            f"use {near(model.hidden_size, together)}, or set model.kv_channels"
        )
    if model.head_dim % multiple:
        raise UserError(
            f"model.kv_channels={model.head_dim}: rotary embeddings need an even head dim; "
            f"use {near(model.head_dim, multiple)}"
        )


def _check_architecture(config: Config) -> None:
    model = config.model
    if model.sliding_window is not None and not model.kind.has_window:
        raise UserError(
            f"model.sliding_window={model.sliding_window}: model.architecture={model.architecture} has no window; set "
            "model.sliding_window=null"
        )


def _check_positions(config: TrainingConfig) -> None:
    """Refuse positions that ALiBi cannot tell apart in bf16."""
    if config.model.position_embedding_type != "alibi" or config.trainer.precision != "bf16-mixed":
        return
    for name in config.stages:
        length = seq_length(config, name)
        if length > LONGEST_FOLDED:
            raise UserError(
                f"{seq_length_key(config, name)}={length}: with ALiBi bf16 tells positions up to {LONGEST_FOLDED} "
                "apart; use a shorter length, or trainer.precision=32-true"
            )


def _check_decay(config: TrainingConfig) -> None:
    optim = config.model.optim
    if optim.sched.min_lr >= optim.lr:
        raise UserError(
            f"model.optim.sched.min_lr={optim.sched.min_lr}: not below model.optim.lr={optim.lr}; "
            f"the paper's ratio would be {optim.lr / 20:g}"
        )


def _check_warmup(config: Config) -> None:
    optim = config.model.optim
    total = sum(stage.tokens for stage in config.curriculum.stages.values())
    if optim.sched.warmup_tokens >= total:
        raise UserError(
            f"model.optim.sched.warmup_tokens={optim.sched.warmup_tokens}: not below the curriculum's {total} tokens"
        )


def _check_stages(config: Config) -> None:
    curriculum = config.curriculum
    for name in curriculum.stages:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(
                f"curriculum.stages.{name}: a stage's name is also a folder's; use letters, digits, _ and -"
            )
    if curriculum.stage is not None and curriculum.stage not in curriculum.stages:
        raise UserError(f"curriculum.stage={curriculum.stage}: no such stage; there are {', '.join(curriculum.stages)}")


def _check_best(config: TrainingConfig) -> None:
    """Refuse a choice of the best checkpoints that does not say how many."""
    kept = config.exp_manager.checkpoint_callback_params
    if kept.monitor and kept.save_top_k is None:
        key = "exp_manager.checkpoint_callback_params"
        raise UserError(
            f"{key}.monitor={kept.monitor}: keeps the best checkpoints, and not how many of them; set {key}.save_top_k"
        )


def _check_reported(config: Config) -> None:
    """Refuse a report with both a speed and a duration, which would contradict each other, and one with neither."""
    reported = config.reported
    if reported and (reported.tokens_per_second is None) == (reported.days is None):
        key = "reported.days" if reported.days else "reported.tokens_per_second"
        what = "both are given; keep one" if reported.days else "give it, or reported.days"
        raise UserError(f"{key}={reported.days or 'null'}: a report has tokens_per_second or days: {what}")


def _check_sources(config: Config) -> None:
    """Refuse text that is given twice, and names that no file can have."""
    data = config.data
    if data.input is not None and data.sources:
        raise UserError(
            f"data.input={data.input}: data.sources is given too; give the text as one of data.sources, or "
            "set data.input=null"
        )
    for name in data.sources:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"data.sources.{name}: a source's name is also a file's; use letters, digits, _ and -")


def _check_epochs(config: Config) -> None:
    """Refuse to let a source be repeated that there is not."""
    data = config.data
    if isinstance(data.max_epochs, int):
        return
    mixed = {source for stage in config.curriculum.stages.values() for source in stage.mix or ()}
    known = data.source_names if data.sources or data.input is not None or not mixed else sorted(mixed)
    for name, number in data.max_epochs.items():
        if name not in known:
            raise UserError(f"data.max_epochs.{name}={number}: no such source; there are: {', '.join(known)}")


def _check_prefix(config: Config) -> None:
    """Refuse a prefix that leaves nothing of a sequence for a teacher's text."""
    if config.distillation is None or not config.distillation.texts:
        return
    prefix = config.distillation.prefix_tokens
    for name in config.curriculum.stages:
        if prefix >= (length := seq_length(config, name)):
            raise UserError(
                f"distillation.prefix_tokens={prefix}: not below {seq_length_key(config, name)}={length}, so nothing "
                "of a teacher's text would be read; use less, or longer sequences"
            )


def _check_teachers(config: Config) -> None:
    """Refuse teachers that nothing is read of, and names that no file can have."""
    if config.distillation is None:
        return
    for name in config.distillation.teachers:
        key = f"distillation.teachers.{name}"
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise UserError(f"{key}: a teacher's name is also a file's; use letters, digits, _ and -")
        if config.distilled_every is None:
            raise UserError(
                f"{key}: distillation.every_n_batches=null, so no batch is distilled; set it, or {key}=null"
            )


def _check_mixes(config: Config) -> None:
    """Refuse shares of sources that are not there, or that do not add up."""
    data = config.data
    given = data.sources or data.input is not None
    for name, stage in config.curriculum.stages.items():
        if stage.mix is None:
            continue
        unknown = [source for source in stage.mix if given and source not in config.data.source_names]
        if unknown:
            raise UserError(
                f"curriculum.stages.{name}.mix.{unknown[0]}={stage.mix[unknown[0]]}: no such source; give its text as "
                f"data.sources.{unknown[0]}=FOLDER, or mix those there are: {', '.join(config.data.source_names)}"
            )
        total = sum(stage.mix.values())
        if abs(total - 1) > 1e-6:
            shares = ", ".join(f"{source}: {share:g}" for source, share in stage.mix.items())
            key = f"curriculum.stages.{name}.mix"
            raise UserError(f"{key}={{{shares}}}: adds up to {total:g}; make that 1 (null takes a source out)")


CHECKS: tuple[tuple[Callable[[Any], None], tuple[type[BaseModel], ...]], ...] = (
    (_check_architecture, (ArchitectureConfig,)),
    (_check_heads, (ArchitectureConfig,)),
    (_check_positions, (TrainingConfig,)),
    (check_documents, (PreparedDataConfig, DividedModelConfig)),
    (check_parallelism, (DevicesConfig, DividedModelConfig)),
    (check_fsdp, (DevicesConfig, DividedModelConfig, MegatronOptimConfig)),
    (_check_decay, (AdamConfig,)),
    (_check_warmup, (OptimConfig, CurriculumConfig)),
    (check_warmup_epochs, (EpochSchedConfig,)),
    (_check_stages, (CurriculumConfig,)),
    (check_batch, (TrainingConfig,)),
    (check_rampup, (DevicesConfig, DividedModelConfig, BatchConfig, CurriculumConfig)),
    (check_gradients, (DevicesConfig, MegatronOptimConfig)),
    (check_precision, (DevicesConfig, DividedModelConfig, PrecisionConfig)),
    (check_stage_precision, (TrainingConfig,)),
    (check_recompute, (TrainingConfig,)),
    (_check_best, (FolderConfig, CheckpointConfig)),
    (check_loss_spike, (ExpManagerConfig, BatchConfig, CurriculumConfig)),
    (_check_reported, (ReportedConfig,)),
    (_check_sources, (TextConfig,)),
    (check_chat_sources, (ChatDataConfig,)),
    (_check_teachers, (DistillationConfig,)),
    (_check_prefix, (DistillationConfig, BatchConfig, CurriculumConfig)),
    (_check_mixes, (TextConfig, CurriculumConfig)),
    (_check_epochs, (TextConfig, PreparedDataConfig, CurriculumConfig)),
)
"""Every check and the parts of a config that it reads; in this order."""


def check_contradictions(config: RunConfig) -> None:
    """Refuse a config whose values cannot hold together, by the checks that its kind has all parts of.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    parts = set(parts_of(type(config)))
    for check, needs in CHECKS:
        if parts.issuperset(needs):
            check(config)
