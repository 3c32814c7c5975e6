"""The token clock: which stage a count of consumed tokens falls into, and what one step of it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol

from custom_modules.config.batch import global_batch_tokens, largest_micro_batch, micro_batch
from custom_modules.config.rampup import BatchPhase, BatchRampup, batch_phases
from custom_modules.config.recompute import Recompute, stage_recompute
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stage_keys import seq_length
from custom_modules.errors import UserError


class Schedule(Protocol):
    """How long a run is: what the learning rate follows."""

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run."""
        ...

    @property
    def warmup_tokens(self) -> int:
        """Tokens in which the learning rate rises to its peak."""
        ...


class Step(Protocol):
    """What a step is made of, on every rank alike."""

    @property
    def seq_length(self) -> int:
        """Tokens of a sequence, before context parallelism divides them."""
        ...

    @property
    def global_batch_tokens(self) -> int:
        """What the clock moves by."""
        ...

    @property
    def micro_batch_size(self) -> int:
        """Sequences in one forward pass on one device."""
        ...

    @property
    def num_microbatches(self) -> int:
        """Forward passes a device makes."""
        ...

    @property
    def recompute(self) -> Recompute:
        """What the backward pass computes again."""
        ...


@dataclass(frozen=True)
class Stage:
    """One stretch of the curriculum at one sequence length. All counts are exact integers."""

    name: str
    token_budget: int
    """What the recipe asks for."""
    seq_length: int
    """Tokens in a sequence."""
    global_batch_tokens: int
    """Tokens in a step, over all devices; where the batch grows, of one behind the ramp."""
    micro_batch_size: int
    """Sequences in one forward pass on one device; where the batch grows, the most."""
    data_parallel_size: int
    start_tokens: int
    """Consumed tokens of the whole run when the stage begins."""
    recompute: Recompute
    rampup: BatchRampup | None = None
    """How the batch grows; None: the stage has one."""
    micro_batch_group: int = 1
    """Micro-batches that a pipeline takes together."""

    @property
    def global_batch_size(self) -> int:
        """Sequences in a step, over all devices."""
        return self.global_batch_tokens // self.seq_length

    @property
    def num_microbatches(self) -> int:
        """Forward passes a device makes in a step."""
        return self.global_batch_size // (self.micro_batch_size * self.data_parallel_size)

    @cached_property
    def _batches(self) -> tuple[BatchPhase, ...]:
        return batch_phases(self.rampup, self.global_batch_tokens, self.start_tokens, self.token_budget)

    @property
    def steps(self) -> int:
        """Whole steps, rounded up: a budget is never cut short."""
        return sum(batch.steps for batch in self._batches)

    @property
    def trained_tokens(self) -> int:
        return self._batches[-1].end_tokens - self.start_tokens

    @property
    def exact_steps(self) -> float:
        """Steps before rounding up."""
        *before, last = self._batches
        return sum(batch.steps for batch in before) + (
            (self.start_tokens + self.token_budget - last.start_tokens) / last.batch_tokens
        )

    @cached_property
    def phases(self) -> tuple[Stage, ...]:
        """The stage cut where its batch grows: stages of one batch each, whose micro-batch is the largest, up to the
        stage's, that divides a device's share. Where it does not grow, the stage itself."""
        return tuple(map(self._phase, self._batches)) if self.rampup is not None else (self,)

    def _phase(self, batch: BatchPhase) -> Stage:
        share = batch.batch_tokens // self.seq_length // self.data_parallel_size
        return replace(
            self,
            token_budget=batch.steps * batch.batch_tokens,
            global_batch_tokens=batch.batch_tokens,
            micro_batch_size=largest_micro_batch(share, self.micro_batch_group, self.micro_batch_size),
            start_tokens=batch.start_tokens,
            rampup=None,
        )

    def phases_from(self, consumed_tokens: int) -> Iterator[tuple[Stage, range]]:
        """Yield the phases of which a run at ``consumed_tokens`` has something left to train, with the samples of the
        stage that are left of each."""
        for phase in self.phases:
            start = max(consumed_tokens, phase.start_tokens)
            if start < phase.end_tokens:
                yield phase, range(self.consumed_samples(start), self.consumed_samples(phase.end_tokens))

    @property
    def extra_tokens(self) -> int:
        """Tokens that rounding up adds to the budget."""
        return self.trained_tokens - self.token_budget

    @property
    def end_tokens(self) -> int:
        """Consumed tokens of the whole run when the stage is done."""
        return self.start_tokens + self.trained_tokens

    @property
    def num_samples(self) -> int:
        """Sequences that the whole stage reads."""
        return self.trained_tokens // self.seq_length

    def consumed_samples(self, consumed_tokens: int) -> int:
        """Sequences of this stage that a run at ``consumed_tokens`` has read."""
        return (consumed_tokens - self.start_tokens) // self.seq_length


@dataclass(frozen=True)
class Curriculum:
    """The stages in order, back to back on the clock."""

    stages: tuple[Stage, ...]
    warmup_tokens: int
    """Tokens in which the learning rate rises to its peak."""

    @classmethod
    def from_config(cls, config: TrainingConfig) -> Curriculum:
        stages: list[Stage] = []
        rampup = config.model.rampup_batch_tokens
        for name, stage in config.stages.items():
            start = stages[-1].end_tokens if stages else 0
            stages.append(
                Stage(
                    name=name,
                    token_budget=stage.tokens,
                    seq_length=seq_length(config, name),
                    global_batch_tokens=global_batch_tokens(config, name),
                    micro_batch_size=micro_batch(config, name).size,
                    data_parallel_size=config.data_parallel_size,
                    start_tokens=start,
                    recompute=stage_recompute(config, name),
                    rampup=rampup if rampup is not None and start < rampup.tokens else None,
                    micro_batch_group=config.model.micro_batch_group,
                )
            )
        return cls(tuple(stages), config.warmup_tokens(stages[-1].end_tokens))

    @property
    def total_tokens(self) -> int:
        """Tokens of the whole run, with what rounding up adds."""
        return self.stages[-1].end_tokens

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    @property
    def max_seq_length(self) -> int:
        """The model's context: the longest sequence it is trained on."""
        return max(stage.seq_length for stage in self.stages)

    def stage(self, name: str) -> Stage:
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise UserError(f"curriculum.stage={name}: no such stage; there are {', '.join(s.name for s in self.stages)}")

    def at(self, consumed_tokens: int) -> Stage | None:
        """The stage whose next step starts at ``consumed_tokens``; None when the curriculum is done."""
        for stage in self.stages:
            if consumed_tokens < stage.end_tokens:
                return stage
        return None
