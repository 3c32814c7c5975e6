"""A stage's batch: the tokens of a step, and the sequences that a device passes through at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.config.parallelism import check_stage_parallelism, near
from custom_modules.config.rampup import BatchPhase, batch_phases
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stage_keys import key_in_stage, seq_length, seq_length_key, value_in_stage
from custom_modules.errors import UserError


@dataclass(frozen=True)
class MicroBatch:
    """The sequences that a device passes through at a time, and what decided it."""

    size: int
    """Sequences in one forward pass on one device."""
    key: str
    """The key that it follows from."""
    value: int
    """The value of that key: sequences, or tokens."""
    in_tokens: bool
    """Whether the value is in tokens."""
    seq_length: int
    """Tokens in a sequence, before context parallelism divides them."""
    share: int
    """Sequences of a device in a step."""
    group: int
    """Micro-batches that a pipeline takes together."""
    passed_over: tuple[str, ...]
    """Further keys that are given, as ``key=value``, and that this one wins over."""

    def explain(self) -> str:
        """Return what decided the size, for a log and a plan."""
        wins = f"; wins over {' and '.join(self.passed_over)}" if self.passed_over else ""
        if self.in_tokens and self.seq_length > self.value:
            return f"{self.size:,}: one sequence is more than {self.key}={self.value}{wins}"
        together = f" into a multiple of {self.group}" if self.group > 1 else ""
        divides = f"that divides the {self.share:,} sequences of a device{together}"
        if self.in_tokens:
            up_to = f"the largest up to {self.value:,} tokens / {self.seq_length:,}"
            return f"{self.size:,}: {up_to} {divides} ({self.key}){wins}"
        below = f", the largest up to it {divides}" if self.size != self.value else ""
        return f"{self.size:,}: {self.key}={self.value}{below}{wins}"


def global_batch_tokens(config: TrainingConfig, stage: str) -> int:
    """Return the tokens of a stage's step, over all devices."""
    return int(value_in_stage(config, stage, "global_batch_tokens"))


def micro_batch(config: TrainingConfig, stage: str) -> MicroBatch:
    """Decide a stage's micro-batch.

    The stage's own keys count before the model's, and of one section ``micro_batch_size`` before
    ``micro_batch_tokens``. Where tokens decide, and where ``model.micro_batch_size`` does in a stage whose share it
    does not divide, it is the largest number up to them that divides a device's share of the batch (under a virtual
    pipeline: into a multiple of the micro-batches that it takes together), at least 1.

    Args:
        config: one that `check_batch` has accepted.
    """
    length, share, group = seq_length(config, stage), _share(config, stage), config.model.micro_batch_group
    (key, value), *others = _given(config, stage)
    in_tokens = key.endswith("tokens")
    most = max(1, value // length) if in_tokens else value
    is_exact = key == f"curriculum.stages.{stage}.micro_batch_size"
    size = value if is_exact else largest_micro_batch(share, group, most)
    passed_over = tuple(f"{key}={value}" for key, value in others)
    return MicroBatch(size, key, value, in_tokens, length, share, group, passed_over)


def phases_by_stage(config: TrainingConfig) -> Iterator[tuple[str, BatchPhase]]:
    """Yield the phases of every stage, in the order they are trained: one where its batch does not grow."""
    start = 0
    for name, stage in config.stages.items():
        for phase in batch_phases(
            config.model.rampup_batch_tokens, global_batch_tokens(config, name), start, stage.tokens
        ):
            yield name, phase
            start = phase.end_tokens


def largest_micro_batch(share: int, group: int, most: int) -> int:
    """Return the largest micro-batch up to ``most`` that divides a device's share of a step.

    Args:
        share: sequences, a multiple of ``group``.
        group: micro-batches that a pipeline takes together.
    """
    return max(size for size in range(1, min(most, share) + 1) if share % (size * group) == 0)


def check_batch(config: TrainingConfig) -> None:
    """Refuse batches that a stage's sequences, devices or micro-batches do not divide.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    for stage in config.stages:
        length, batch = seq_length(config, stage), global_batch_tokens(config, stage)
        if batch % length:
            raise UserError(
                f"{seq_length_key(config, stage)}={length}: does not divide "
                f"{key_in_stage(config, stage, 'global_batch_tokens')}={batch}; "
                f"use a length that divides it, or a batch of {near(batch, length)} tokens"
            )
        sequences, data_parallel = batch // length, config.data_parallel_size
        if sequences % data_parallel:
            raise UserError(_undivided(config, stage, sequences))
        check_stage_parallelism(config, stage, length, _share(config, stage) // _checked_size(config, stage))


def _undivided(config: TrainingConfig, stage: str, sequences: int) -> str:
    """Word that the data-parallel ranks do not divide a stage's sequences, with the numbers of devices that do."""
    trainer, share = config.trainer, config.model.model_parallel_size
    key, count, others = (
        ("trainer.num_nodes", trainer.num_nodes, trainer.devices)
        if trainer.num_nodes > 1
        else ("trainer.devices", trainer.devices, 1)
    )
    steps = {phase.batch_tokens // seq_length(config, name) for name, phase in phases_by_stage(config)}
    fits = [
        number
        for number in range(1, min(steps) * share // others + 1)
        if number * others % share == 0 and all(step % (number * others // share) == 0 for step in steps)
    ]
    below, above = [n for n in fits if n < count], [n for n in fits if n > count]
    nearby = " or ".join(map(str, below[-1:] + above[:1]))
    with_devices = f"with trainer.devices={others}, " if others > 1 else ""
    such_as = f", such as {key}={nearby}" if nearby else ""
    return (
        f"{key}={count}: {with_devices}{stage} has {sequences} sequences a step, which data-parallel size = "
        f"{config.data_parallel_size} does not divide; use a data-parallel size that divides {sequences}{such_as}, or "
        "larger tensor or pipeline parallel sizes"
    )


def _checked_size(config: TrainingConfig, stage: str) -> int:
    """Return the micro-batch size that has to divide a stage's share: one given for it, else 1.

    Raises:
        UserError: it does not divide, or no key gives one.
    """
    given = _given(config, stage)
    if not given:
        raise UserError(
            f"model.micro_batch_tokens=null: {stage} has no micro-batch, as model.micro_batch_size=null too; give "
            "tokens, such as model.micro_batch_tokens=16384, or sequences, such as model.micro_batch_size=1"
        )
    key, size = given[0]
    is_first = stage == next(iter(config.stages))
    if key.endswith("tokens") or (key == "model.micro_batch_size" and not is_first):
        return 1
    share = _share(config, stage)
    if share % size:
        data_parallel = config.data_parallel_size
        fits = [str(size) for size in range(1, share + 1) if share % size == 0]
        raise UserError(
            f"{key}={size}: {stage} has {share * data_parallel} sequences a step, which "
            f"micro-batch x data-parallel size = {size} x {data_parallel} does not divide; "
            f"use a micro-batch of {', '.join(fits[:8])}"
        )
    return size


def _share(config: TrainingConfig, stage: str) -> int:
    """Return the sequences of a device in a step."""
    return global_batch_tokens(config, stage) // seq_length(config, stage) // config.data_parallel_size


def _given(config: TrainingConfig, stage: str) -> list[tuple[str, int]]:
    """Return the keys that could decide a stage's micro-batch and their values, the one that does first."""
    sections = {f"curriculum.stages.{stage}": config.stages[stage], "model": config.model}
    keys = [
        (f"{name}.{key}", getattr(section, key))
        for name, section in sections.items()
        for key in ("micro_batch_size", "micro_batch_tokens")
    ]
    return [(key, value) for key, value in keys if value is not None]
