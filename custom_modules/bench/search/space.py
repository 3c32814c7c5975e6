"""What a search may try: the settings and micro-batches that the plan says will fit the machine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import product
from typing import Any

from custom_modules.bench.search.guess import RATES, guess_step_seconds
from custom_modules.bench.search.machine import Machine
from custom_modules.bench.search.trials import (
    MICRO_BATCH,
    RECOMPUTE,
    Held,
    Pass,
    Setting,
    Trial,
    Values,
    differing,
    overrides,
    stage_values,
)
from custom_modules.config.batch import largest_micro_batch
from custom_modules.config.precision import fp8_multiple
from custom_modules.config.recompute import Recompute
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stage_keys import seq_length, seq_length_key
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.errors import UserError
from custom_modules.plan.memory import OUTSIDE_TORCH, fullest_device
from custom_modules.plan.remedies import CHUNK_SIZE, with_changes

GIB = 2**30

RECOMPUTED = (Recompute(), Recompute("selective", modules=("mlp",)), Recompute("full", "uniform", 1))
"""The least first: what is computed again takes time, and gives nothing but room."""

PRECISION = ("model.fp8", "model.fp8_recipe")
LAYOUT = (
    "model.tensor_model_parallel_size",
    "model.pipeline_model_parallel_size",
    "model.virtual_pipeline_model_parallel_size",
    "model.context_parallel_size",
    "model.sequence_parallel",
    "model.fsdp",
)
OPTIMIZER = ("model.optim.name",)
LOSS = ("model.cross_entropy_chunk_size",)
GROUPS = (PRECISION, LAYOUT, OPTIMIZER, LOSS)
"""The keys that are tried, in the groups that change together."""


class Space:
    """The settings that a run may have on a machine.

    Numbers of devices, sequence lengths, global batches and the precision of weights and gradients stay as they are.

    Args:
        config: what is searched for.
        held: keys that stay as they are, too.
        stages: those that are measured, in their order.
    """

    def __init__(self, config: TrainingConfig, machine: Machine, held: Held, stages: Sequence[str]) -> None:
        self.config, self.machine, self.held, self.stages = config, machine, held, tuple(stages)
        devices = config.trainer.devices if machine.accelerator == "cpu" else 1
        self.room = machine.memory_bytes // devices - (OUTSIDE_TORCH if machine.accelerator == "gpu" else 0)
        """Bytes of a device, or a process's share of the machine, that a run may have."""
        curriculum = Curriculum.from_config(config)
        self._trained = {stage: curriculum.stage(stage).trained_tokens for stage in stages}
        self._choices = [list(_alternatives(config, machine, held, keys)) for keys in GROUPS]
        self._skeletons: dict[Setting, TrainingConfig | None] = {}
        self._stages: dict[tuple[Setting, str], Stage] = {}
        self._passes: dict[tuple[Setting, str], tuple[Pass, ...]] = {}
        self._guesses: dict[tuple[Setting, str], float] = {}
        self._variations: dict[Setting, list[Setting]] = {}

    @property
    def settings(self) -> Iterator[Setting]:
        """Every setting that the config's checks allow, whether it fits or not."""
        for chosen in product(*self._choices):
            setting: Setting = tuple(item for values in chosen for item in values.items())
            if self._skeleton(setting) is not None:
                yield setting

    def trial_config(self, trial: Trial) -> TrainingConfig:
        """Return the config that a trial is measured with."""
        own = stage_values(self.config, trial.stage, trial.size, self.held)
        skeleton = self._skeleton(trial.setting)
        assert skeleton is not None, trial
        return with_changes(skeleton, own)

    def seq_length(self, stage: str) -> int:
        """Return the tokens of a stage's sequences."""
        return seq_length(self.config, stage)

    def trained_tokens(self, stage: str) -> int:
        """Return the tokens that a run trains in a stage."""
        return self._trained[stage]

    def passes(self, setting: Setting, stage: str) -> tuple[Pass, ...]:
        """Return the micro-batches that fit in a stage, the smallest first, each with the least recomputation with
        which it does; where the loss is computed in chunks those that are cut, if any is."""
        key = (setting, stage)
        if key not in self._passes:
            fitting = tuple(self._fitting(setting, stage))
            self._passes[key] = tuple(size for size in fitting if self._is_cut(setting, stage, size)) or fitting
        return self._passes[key]

    def fits(self, setting: Setting) -> bool:
        """Tell whether every stage has a micro-batch that fits, and a loss in chunks anything to cut."""
        passes = {stage: self.passes(setting, stage) for stage in self.stages}
        is_whole = dict(setting)[LOSS[0]] is None or LOSS[0] in self.held
        return all(passes.values()) and (
            is_whole or any(self._is_cut(setting, stage, fitting[0]) for stage, fitting in passes.items())
        )

    def best_pass(self, setting: Setting, stage: str) -> Pass:
        """Return the micro-batch that a stage is guessed to be fastest with."""
        return min(self.passes(setting, stage), key=lambda size: self._guess_step(setting, stage, size))

    def guess_stage_seconds(self, setting: Setting, stage: str) -> float:
        """Guess what a stage takes, all its steps."""
        key = (setting, stage)
        if key not in self._guesses:
            steps = self._stage(setting, stage)[1].steps
            self._guesses[key] = steps * self._guess_step(setting, stage, self.best_pass(setting, stage))
        return self._guesses[key]

    def guess_seconds(self, setting: Setting) -> float:
        """Guess what all stages take."""
        return sum(self.guess_stage_seconds(setting, stage) for stage in self.stages)

    def variations(self, setting: Setting) -> list[Setting]:
        """Return the settings that fit and differ in the keys of one group, the one that is guessed fastest first."""
        if setting not in self._variations:
            self._variations[setting] = sorted(filter(self.fits, self._neighbours(setting)), key=self.guess_seconds)
        return self._variations[setting]

    @cached_property
    def best_guess(self) -> Setting:
        """The setting that is guessed to be the fastest of those that differ from it in one group.

        Raises:
            UserError: nothing fits.
        """
        best = next(self.settings)
        while True:
            better = min((best, *self._neighbours(best)), key=self._merit)
            if better == best:
                break
            best = better
        if not self.fits(best):
            best = next(filter(self.fits, self.settings), best)
        if not self.fits(best):
            raise UserError(self._nothing_fits())
        return best

    def _merit(self, setting: Setting) -> tuple[float, float]:
        """What is less is better: bytes that are missing, then seconds."""
        if self.fits(setting):
            return 0, self.guess_seconds(setting)
        return max(self._least_bytes(setting, stage) for stage in self.stages) - self.room, 0

    def _neighbours(self, setting: Setting) -> Iterator[Setting]:
        values = dict(setting)
        for choices in self._choices:
            for alternative in choices:
                other: Setting = tuple({**values, **alternative}.items())
                if other != setting and self._skeleton(other) is not None:
                    yield other

    def _skeleton(self, setting: Setting) -> TrainingConfig | None:
        """Return the config of a setting, its stages with the smallest micro-batch; None where checks refuse it."""
        if setting not in self._skeletons:
            values: Values = dict(setting)
            for stage in self.stages:
                values |= stage_values(self.config, stage, Pass(1, None), self.held)
            try:
                self._skeletons[setting] = with_changes(self.config, values)
            except UserError:
                self._skeletons[setting] = None
        return self._skeletons[setting]

    def _stage(self, setting: Setting, name: str) -> tuple[TrainingConfig, Stage]:
        config = self._skeleton(setting)
        assert config is not None, setting
        if (setting, name) not in self._stages:
            self._stages[setting, name] = Curriculum.from_config(config).stage(name)
        return config, self._stages[setting, name]

    def _fitting(self, setting: Setting, name: str) -> Iterator[Pass]:
        config, stage = self._stage(setting, name)
        levels = self._levels(stage)
        for size in self._sizes(config, stage):
            while levels and self._bytes(config, stage, size, levels[0]) > self.room:
                levels = levels[1:]
            if not levels:
                return
            if not config.model.fp8 or size * stage.seq_length % fp8_multiple(config.model) == 0:
                yield Pass(size, levels[0].granularity)

    def _is_cut(self, setting: Setting, name: str, size: Pass) -> bool:
        """Tell whether the loss of a micro-batch is computed in more than one chunk."""
        config, stage = self._stage(setting, name)
        chunk = config.model.cross_entropy_chunk_size
        tokens = size.micro_batch_size * stage.seq_length // config.model.context_parallel_size
        return chunk is not None and tokens > chunk

    def _sizes(self, config: TrainingConfig, stage: Stage) -> list[int]:
        """Return the micro-batches of a stage: for each power of two the largest up to it that divides its batch."""
        if self.held.any_of(self.config, stage.name, MICRO_BATCH):
            return [stage.micro_batch_size]
        share = stage.micro_batch_size * stage.num_microbatches
        powers = [2**power for power in range(share.bit_length() + 1)]
        return sorted({largest_micro_batch(share, stage.micro_batch_group, power) for power in powers})

    def _levels(self, stage: Stage) -> tuple[Recompute, ...]:
        return (stage.recompute,) if self.held.any_of(self.config, stage.name, RECOMPUTE) else RECOMPUTED

    def _bytes(self, config: TrainingConfig, stage: Stage, size: int, recompute: Recompute) -> int:
        on_cpu = not (self.machine.has_transformer_engine and config.may_use_transformer_engine)
        return fullest_device(config, replace(stage, micro_batch_size=size, recompute=recompute), on_cpu).total

    def _least_bytes(self, setting: Setting, name: str) -> int:
        """Return what a stage needs at least."""
        config, stage = self._stage(setting, name)
        size = self._sizes(config, stage)[0]
        return min(self._bytes(config, stage, size, level) for level in self._levels(stage))

    def _guess_step(self, setting: Setting, name: str, size: Pass) -> float:
        config, stage = self._stage(setting, name)
        recompute = next(level for level in self._levels(stage) if level.granularity == size.granularity)
        sized = replace(stage, micro_batch_size=size.micro_batch_size, recompute=recompute)
        return guess_step_seconds(config, sized, RATES[self.machine.accelerator])

    def _nothing_fits(self) -> str:
        needs = [
            max((self._least_bytes(setting, stage), stage, setting) for stage in self.stages)
            for setting in self.settings
        ]
        need, stage, setting = min(needs, key=lambda found: found[0])
        changed = " ".join(overrides(differing(self.config, dict(setting))))
        trainer = self.config.trainer
        return (
            f"trainer.devices={trainer.devices}: nothing fits into the {self.room / GIB:,.1f} GiB of a device "
            f"({self.machine.chip}): by the plan {stage} needs {need / GIB:,.1f} GiB at least"
            f"{f', with {changed}' if changed else ''}; divide the model over more devices, or lower "
            f"{seq_length_key(self.config, stage)}"
        )


def _value(config: TrainingConfig, key: str) -> Any:
    found: Any = config
    for name in key.split("."):
        found = getattr(found, name)
    return found


def _alternatives(config: TrainingConfig, machine: Machine, held: Held, keys: tuple[str, ...]) -> Iterator[Values]:
    """Yield the values that a group of keys may have on a machine: the config's own first, where it can have them.

    Raises:
        UserError: those that are held cannot be had.
    """
    own = {key: _value(config, key) for key in keys}
    others = _OTHERS[keys](config, machine)
    found = [values for values in (own, *others) if all(values[key] == own[key] for key in keys if key in held)]
    if keys == PRECISION:
        found = [
            values
            for values in found
            if values["model.fp8"] is None or values["model.fp8_recipe"] in machine.fp8_recipes
        ]
        if not found:
            raise UserError(
                f"model.fp8={own['model.fp8']}: {machine.chip} has no model.fp8_recipe={own['model.fp8_recipe']}; set "
                "model.fp8=null, or leave both to the search"
            )
    yield from (values for number, values in enumerate(found) if values not in found[:number])


def _precisions(config: TrainingConfig, machine: Machine) -> Iterator[Values]:
    recipe = config.model.fp8_recipe
    yield {"model.fp8": None, "model.fp8_recipe": recipe}
    if config.trainer.precision == "bf16-mixed":
        for other in machine.fp8_recipes:
            yield {"model.fp8": config.model.fp8 or "hybrid", "model.fp8_recipe": other}


def _layouts(config: TrainingConfig, machine: Machine) -> Iterator[Values]:
    """Yield what divides the devices; pipelines with one chunk a rank and with two."""
    world = config.trainer.world_size
    divisors = [size for size in range(1, world + 1) if world % size == 0]
    for tensor, pipeline, context in product(divisors, divisors, divisors):
        if world % (tensor * pipeline * context):
            continue
        for chunks, sequence, fsdp in product((None, 2), (True, False), (False, True)):
            is_sensible = (
                (chunks is None or pipeline > 1)
                and (tensor > 1 or not sequence)
                and (not fsdp or (tensor == pipeline == 1 and world > 1))
            )
            if is_sensible:
                yield dict(zip(LAYOUT, (tensor, pipeline, chunks, context, sequence, fsdp), strict=True))


def _optimizers(config: TrainingConfig, machine: Machine) -> Iterator[Values]:
    yield {"model.optim.name": "adamw"}
    if config.trainer.world_size > 1:
        yield {"model.optim.name": "distributed_fused_adam"}


def _losses(config: TrainingConfig, machine: Machine) -> Iterator[Values]:
    yield {"model.cross_entropy_chunk_size": None}
    if config.objective == "next_token":  # another one may need all logits at once
        yield {"model.cross_entropy_chunk_size": CHUNK_SIZE}


_OTHERS = {PRECISION: _precisions, LAYOUT: _layouts, OPTIMIZER: _optimizers, LOSS: _losses}
