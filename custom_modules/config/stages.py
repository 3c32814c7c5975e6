"""The token clock: which stage a count of consumed tokens falls into, and what one step of it is made of."""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.batch import global_batch_tokens, micro_batch
from custom_modules.config.recompute import Recompute, stage_recompute
from custom_modules.config.schema import Config
from custom_modules.config.stage_keys import seq_length
from custom_modules.errors import UserError


@dataclass(frozen=True)
class Stage:
    """One stretch of the curriculum at one sequence length. All counts are exact integers."""

    name: str
    token_budget: int
    """What the recipe asks for."""
    seq_length: int
    """Tokens in a sequence."""
    global_batch_tokens: int
    """Tokens in a step, over all devices."""
    micro_batch_size: int
    """Sequences in one forward pass on one device."""
    data_parallel_size: int
    start_tokens: int
    """Consumed tokens of the whole run when the stage begins."""
    recompute: Recompute

    @property
    def global_batch_size(self) -> int:
        """Sequences in a step, over all devices."""
        return self.global_batch_tokens // self.seq_length

    @property
    def num_microbatches(self) -> int:
        """Forward passes a device makes in a step."""
        return self.global_batch_size // (self.micro_batch_size * self.data_parallel_size)

    @property
    def steps(self) -> int:
        """Whole steps, rounded up: a budget is never cut short."""
        return -(-self.token_budget // self.global_batch_tokens)

    @property
    def trained_tokens(self) -> int:
        return self.steps * self.global_batch_tokens

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
        return self.steps * self.global_batch_size

    def consumed_samples(self, consumed_tokens: int) -> int:
        """Sequences of this stage that a run at ``consumed_tokens`` has read."""
        return (consumed_tokens - self.start_tokens) // self.seq_length


@dataclass(frozen=True)
class Curriculum:
    """The stages in order, back to back on the clock."""

    stages: tuple[Stage, ...]

    @classmethod
    def from_config(cls, config: Config) -> Curriculum:
        stages: list[Stage] = []
        for name, stage in config.curriculum.stages.items():
            stages.append(
                Stage(
                    name=name,
                    token_budget=stage.tokens,
                    seq_length=seq_length(config, name),
                    global_batch_tokens=global_batch_tokens(config, name),
                    micro_batch_size=micro_batch(config, name).size,
                    data_parallel_size=config.data_parallel_size,
                    start_tokens=stages[-1].end_tokens if stages else 0,
                    recompute=stage_recompute(config, name),
                )
            )
        return cls(tuple(stages))

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
