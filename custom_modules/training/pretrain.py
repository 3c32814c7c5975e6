"""`danube pretrain`: one process of a run, from the newest checkpoint to the end of the stage or curriculum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from megatron.core import parallel_state

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.without_effect import only_prepared_with, without_effect
from custom_modules.data.batches import Batch
from custom_modules.data.dali import require_loader
from custom_modules.data.dataset import training_dataset
from custom_modules.data.documents import documents_of
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest, load_manifest
from custom_modules.data.tokenizer_check import check_tokenizer
from custom_modules.data.users import record_user
from custom_modules.data.validation_set import ValidationSet
from custom_modules.errors import DivergedError, StoppedBySignal
from custom_modules.objective import check_objective
from custom_modules.plan.seen import pairs_by_stage, seen_contexts
from custom_modules.platform import Platform
from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.compatibility import check_resumable
from custom_modules.run_folder.initial_weights import find_base
from custom_modules.run_folder.newest import newest_checkpoint
from custom_modules.run_folder.ownership import INDEX_CACHE
from custom_modules.tasks.extra import require_tasks
from custom_modules.text import say
from custom_modules.training.batch_log import describe_batch, describe_phase
from custom_modules.training.before_training import (
    check_predecessor,
    stages_to_come,
    target_stage,
    validation_documents,
    verify_data,
)
from custom_modules.training.checkpoint import load_checkpoint
from custom_modules.training.dry_run import dry_run, is_asked_for
from custom_modules.training.garbage import Garbage, collected_between_steps
from custom_modules.training.out_of_memory import TASKS, VALIDATION
from custom_modules.training.parallel import gather_parameters
from custom_modules.training.random_state import set_random_state
from custom_modules.training.rollback import cuts_of, ended_by_choice, finish_rollbacks, go_back, rollbacks_so_far
from custom_modules.training.run import TrainingRun, running_in_folder
from custom_modules.training.signals import StopRequest
from custom_modules.training.spike_watch import SpikeFound, SpikeWatch
from custom_modules.training.task_scoring import TaskScoring
from custom_modules.training.validation import Validation

BY_ITSELF = "with exp_manager.loss_spike={} the run goes back and on by itself; "
"""What a run that diverged is told."""


def pretrain(config: Config, stop: StopRequest) -> None:
    """Train up to the end of ``curriculum.stage``, or of the whole curriculum. Every rank calls it.

    Args:
        stop: the signals received so far; one that came before the first step lets that step be trained and saved.

    Raises:
        UserError: something in the config, the data or the run's folder has to change first.
        StoppedBySignal: a stop was asked for; the run is saved.
    """
    platform = Platform.detect(config)
    require_loader(config)
    require_tasks(config)
    check_objective(config)
    manifest = load_manifest(config)
    notes = [*check_tokenizer(config, manifest), *without_effect(config), *only_prepared_with(config)]
    with ExitStack() as stack:
        stack.enter_context(running_in_folder(config, platform))
        run = PretrainRun(config, platform, manifest, stop)
        if run.prepare():
            for note in notes if run.log.is_main else ():
                say(note)
            stack.callback(run.log.close)
            run.train()


class PretrainRun(TrainingRun):
    """The state of one process of a run.

    Args:
        config, manifest: what to train, on what.
        platform: already running.
        stop: the signals received so far.
    """

    def __init__(self, config: Config, platform: Platform, manifest: Manifest, stop: StopRequest) -> None:
        self.curriculum = Curriculum.from_config(config)
        super().__init__(config, platform, stop, self.curriculum)
        self.config = config
        self.manifest = manifest
        if self.log.is_main:
            self.log.pairs = pairs_by_stage(seen_contexts(config, manifest))
        self.target = target_stage(config, self.curriculum)
        rank = parallel_state.get_data_parallel_rank()
        documents = documents_of(config, manifest.eos_id)
        self.loader = Loader(config.data, config.model.vocab_size, rank, platform.device, documents)
        self.chosen: ValidationSet | None = None
        self.tasks: TaskScoring | None = None

    def prepare(self) -> bool:
        """Find the checkpoint, check the data, build the engine.

        Returns:
            False if there is nothing left to train.
        """
        config, say = self.config, self.log.say
        finish_rollbacks(config, say)
        checkpoint, self.damaged = newest_checkpoint(config.run_dir, say)
        rollbacks = rollbacks_so_far(config, checkpoint, say)
        consumed = checkpoint.consumed_tokens if checkpoint else 0
        check_predecessor(config, self.target, consumed, rollbacks)
        if checkpoint is not None:
            check_resumable(config, self.curriculum, self.manifest, checkpoint)
            if consumed >= self.target.end_tokens:
                say(f"{self.target.name} is finished: {checkpoint.path} has {consumed:,} tokens")
                return False
        to_come = stages_to_come(self.curriculum, self.target, consumed)
        verify_data(config, self.manifest, to_come, say)
        base = on_rank_0(lambda: find_base(config, self.manifest)) if checkpoint is None else None
        limits, self.chosen = validation_documents(config, self.manifest, to_come, checkpoint, say)
        if config.trainer.evaluate is not None:
            self.tasks = TaskScoring(config.trainer.evaluate, config, self.manifest, self.platform)
        bytes_before = self.platform.memory_bytes()
        self.build(to_come[0], checkpoint, base)
        self.progress.validation_limits, self.progress.rollbacks = limits, rollbacks
        self.log.padding(checkpoint, self.progress)
        self.progress.padding_has_share = False
        on_rank_0(partial(self._open_log, checkpoint, begins_anew=not consumed))
        self.log.start(checkpoint, base)
        if self.tasks is not None:
            self.tasks.announce(config, consumed, say, self.log.pairs)
        if is_asked_for(config, self.platform):
            dry_run(self.engine, to_come, self.platform, bytes_before, say, resumed=checkpoint is not None)
        return True

    def train(self) -> None:
        """Train stage after stage up to the target."""
        with collected_between_steps(self.config.model.gc_interval) as garbage:
            if not self.progress.consumed_tokens:
                self._score(self.curriculum.stages[0], garbage)
            while self.progress.consumed_tokens < self.target.end_tokens:
                stage = self.curriculum.at(self.progress.consumed_tokens)
                assert stage is not None
                try:
                    self._train_stage(stage, garbage)
                except SpikeFound as spike:
                    self._go_back(spike)
                    garbage.after_other_work()
        self.log.done(self.progress)

    def _train_stage(self, stage: Stage, garbage: Garbage) -> None:
        config, progress = self.config, self.progress
        cache = config.run_dir / INDEX_CACHE
        dataset = training_dataset(config, self.manifest, stage, cache, cuts_of(stage, progress.rollbacks))
        validation = Validation(config, self.manifest, stage, cache, self.chosen)
        progress.data[stage.name] = self.manifest.digest(stage.name, self.config.teachers)
        for line in describe_batch(config, stage, progress.consumed_tokens):
            self.log.say(line)
        with self.loader.open_stage(dataset, stage, progress.consumed_tokens) as batches:
            self._train_steps(stage, batches, validation, garbage)

    def _train_steps(self, stage: Stage, batches: Iterator[Batch], validation: Validation, garbage: Garbage) -> None:
        """Train to the end of the stage."""
        config, progress = self.config, self.progress
        watch = self._watch(stage)
        seconds, tokens = 0.0, 0
        for phase in self._steps(stage):
            begun = time.monotonic()
            garbage.before_step(progress.step)
            try:
                with self.room.found(phase):
                    result = self.engine.train_step(batches, phase, watch.leaves_out if watch else None)
            except DivergedError as error:
                raise self.diverged(error, stage.name, BY_ITSELF) from None
            seconds, tokens = seconds + time.monotonic() - begun, tokens + phase.global_batch_tokens
            progress.consumed_tokens = self.engine.consumed_tokens
            progress.step += 1
            progress.stage = stage.name
            progress.is_stage_end = progress.consumed_tokens == stage.end_tokens
            progress.add_step(result.loss, result.distilled, 1 if stage.rampup is None else phase.global_batch_size)
            progress.validation = None
            if watch is not None:
                try:
                    watch.after_step()
                except SpikeFound:
                    self.log.steps(progress, stage, result, tokens / seconds)
                    raise
            batch = phase.global_batch_tokens
            if self.due(config.trainer.log_every_n_tokens, batch):
                self.log.steps(progress, stage, result, tokens / seconds)
                seconds, tokens = 0.0, 0
            if self.due(config.trainer.val_every_n_tokens, batch):
                self._evaluate(stage, validation)
                garbage.after_other_work()
            if (options := config.trainer.evaluate) and self.due(options.every_n_tokens, batch):
                self._score(stage, garbage)
            stop = self.stop.agreed(self.engine.device)
            if stop or self.due(config.exp_manager.checkpoint_callback_params.every_n_train_tokens, batch):
                path = self._save(prunes=watch is None or not watch.is_high)
                if stop and not (progress.is_stage_end and stage is self.target):
                    raise StoppedBySignal(f"{stop}: saved {path}; the same command goes on from there")
                garbage.after_other_work()

    def _steps(self, stage: Stage) -> Iterator[Stage]:
        """Yield the phase of each step that is left of a stage; a phase is announced before its first."""
        for number, phase in enumerate(stage.phases, start=1):
            if self.progress.consumed_tokens < phase.end_tokens and stage.rampup is not None:
                self.log.say(describe_phase(phase, number, len(stage.phases)))
            while self.progress.consumed_tokens < phase.end_tokens:
                yield phase

    def _evaluate(self, stage: Stage, validation: Validation) -> None:
        with self.room.found(stage, VALIDATION):
            found = validation.evaluate(self.engine, self.loader)
        self.progress.validation = found.record
        self.log.validation(self.progress, stage, found)

    def _score(self, stage: Stage, garbage: Garbage) -> None:
        """Score ``trainer.evaluate``'s tasks, where the run has any."""
        if self.tasks is None:
            return
        with self.room.found(stage, TASKS):
            found = self.tasks.score(self.engine)
        self.log.tasks(self.progress, stage, found)
        garbage.after_other_work()

    def _watch(self, stage: Stage) -> SpikeWatch | None:
        options = self.config.exp_manager.loss_spike
        if options is None:
            self.progress.spike_window = None
            return None
        return SpikeWatch(options, self.progress, stage.name, self.engine.device, self.log.say)

    def _go_back(self, spike: SpikeFound) -> None:
        """Go on from a checkpoint of before a spike, with the engine that is there.

        Raises:
            DivergedError: the run is not to go back, or not again, or there is no checkpoint.
        """
        config, limits = self.config, self.progress.validation_limits
        options = config.exp_manager.loss_spike
        assert options is not None
        if options.on_spike != "rollback":
            raise on_rank_0(partial(ended_by_choice, config, self.progress, spike, self.damaged))
        self.log.close()
        checkpoint = on_rank_0(partial(go_back, config, self.progress, spike, self.damaged))
        gather_parameters(self.engine.models)
        set_random_state(self.begin_random_state)
        self.progress = load_checkpoint(self.engine, checkpoint)
        self.progress.validation_limits, self.progress.padding_has_share = limits, False
        self.progress.rollbacks = rollbacks_so_far(config, checkpoint, self.log.say)
        to_come = stages_to_come(self.curriculum, self.target, self.progress.consumed_tokens)
        verify_data(config, self.manifest, to_come[:1], self.log.say)
        on_rank_0(partial(self._open_log, checkpoint))
        self.log.rollback(self.progress.rollbacks[-1], len(self.progress.rollbacks), checkpoint)

    def _save(self, prunes: bool) -> Path:
        return self.save(self.manifest.tokenizer_file.parent, self.manifest.tokenizer_sha256, prunes)

    def _open_log(self, checkpoint: Checkpoint | None, begins_anew: bool = False) -> None:
        self.log.open(checkpoint, self.progress.consumed_tokens, begins_anew)
        record_user(self.manifest, self.config.run_dir)
