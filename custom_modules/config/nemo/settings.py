"""A composed config before it is checked: plain values under dotted keys, and the steps and batches they make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from custom_modules.config.rampup import BatchPhase, BatchRampup, batch_phases, tokens_of_steps
from custom_modules.text import as_yaml


class Refused(ValueError):
    """A value that cannot be had here; says why, and what to do."""


class StageSteps(NamedTuple):
    """A stage's part of a run's first steps."""

    stage: str
    steps: int
    tokens: int
    """The tokens of those steps."""
    is_whole: bool
    """Whether the stage has no further step."""


class Settings:
    """Nested plain values that are read and set by dotted keys.

    Args:
        plain: changed in place.
    """

    def __init__(self, plain: dict[str, Any]) -> None:
        self.plain = plain

    def get(self, key: str, default: Any = None) -> Any:
        """Return a key's value; ``default`` where there is none."""
        section, name = self._section(key)
        return default if section is None else section.get(name, default)

    def put(self, key: str, value: Any) -> None:
        """Set a key, in sections that are made where there are none."""
        *sections, name = key.split(".")
        place = self.plain
        for section in sections:
            place = place.setdefault(section, {})
        place[name] = value

    def take_out(self, key: str) -> None:
        """Remove a key, and the sections that it leaves empty."""
        section, name = self._section(key)
        if section is None:
            return
        section.pop(name, None)
        parent = key.rpartition(".")[0]
        if parent and not section:
            self.take_out(parent)

    def whole(self, key: str) -> int:
        """Return a key's value as a whole number.

        Raises:
            Refused: it has none yet.
        """
        number = as_value(self.get(key))
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise Refused(f"needs {key}, which is {as_yaml(number)}")
        return number

    @property
    def stages(self) -> dict[str, dict[str, Any]]:
        """The stages by name, in their order, without those that are taken out."""
        stages = self.get("curriculum.stages")
        if not isinstance(stages, dict):
            raise Refused("needs curriculum.stages")
        return {name: stage for name, stage in stages.items() if isinstance(stage, dict)}

    def seq_length(self, stage: str) -> int:
        """Return the tokens of a stage's sequences."""
        own = f"curriculum.stages.{stage}.encoder_seq_length"
        return self.whole(own if self.get("model.encoder_seq_length") is None else "model.encoder_seq_length")

    def batch(self, stage: str) -> int:
        """Return the tokens of a stage's step."""
        own = f"curriculum.stages.{stage}.global_batch_tokens"
        return self.whole("model.global_batch_tokens" if self.get(own) is None else own)

    @property
    def rampup(self) -> BatchRampup | None:
        """How the batch grows, if it does."""
        value = self.get("model.rampup_batch_tokens")
        numbers = list(map(as_value, value)) if isinstance(value, (list, tuple)) else [as_value(value)]
        if numbers == [None]:
            return None
        if len(numbers) != 3 or not all(isinstance(number, (int, float)) and number >= 1 for number in numbers):
            raise Refused(f"needs model.rampup_batch_tokens, which is {as_yaml(value)}")
        return BatchRampup(*map(int, numbers))

    def constant_batch(self) -> int:
        """Return the tokens of a step where all steps have as many, or those of the stage that is chosen.

        Raises:
            Refused: the stages have batches of several sizes, or the batch grows.
        """
        if self.rampup is not None:
            grows = f"model.rampup_batch_tokens={as_yaml(self.rampup)}"
            raise Refused(f"a step is not as many tokens throughout the run ({grows})")
        chosen = self.get("curriculum.stage")
        batches = {name: self.batch(name) for name in self.stages if chosen in (None, name)}
        if len(set(batches.values())) != 1:
            sizes = ", ".join(f"{size:,} in {name}" for name, size in batches.items())
            raise Refused(f"a step is not as many tokens in every stage ({sizes})")
        return next(iter(batches.values()))

    def steps_by_stage(self, steps: int) -> Iterator[StageSteps]:
        """Yield what each stage has of a run's first ``steps``.

        The last stage has what the stages before it leave over.
        """
        names, start = list(self.stages), 0
        for name in names:
            own = sum(phase.steps for phase in self._phases(name, start))
            share = steps if name == names[-1] else min(own, steps)
            steps -= share
            tokens = tokens_of_steps(self.rampup, self.batch(name), start, share)
            start += tokens
            yield StageSteps(name, share, tokens, share == own)

    def total_steps(self) -> int:
        """Return the steps of the whole run."""
        steps = start = 0
        for name in self.stages:
            for phase in self._phases(name, start):
                steps, start = steps + phase.steps, phase.end_tokens
        return steps

    def _phases(self, stage: str, start_tokens: int) -> tuple[BatchPhase, ...]:
        budget = self.whole(f"curriculum.stages.{stage}.tokens")
        return batch_phases(self.rampup, self.batch(stage), start_tokens, budget)

    def _section(self, key: str) -> tuple[dict[str, Any] | None, str]:
        *sections, name = key.split(".")
        place: Any = self.plain
        for section in sections:
            place = place.get(section) if isinstance(place, Mapping) else None
        return (place if isinstance(place, dict) else None), name


def as_value(value: Any) -> Any:
    """Read text as YAML would: what Hydra has as text because it was quoted may be a number, true, false or null."""
    if isinstance(value, str):
        word = value.strip().lower()
        if word in ("true", "false"):
            return word == "true"
        if word in ("null", "none", "~"):
            return None
        for kind in (int, float):
            try:
                return kind(word)
            except ValueError:
                continue
    return value
