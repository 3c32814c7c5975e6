"""`danube sft`: one process of a fine-tuning run, from the newest checkpoint to the end of the last epoch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from megatron.core import parallel_state

from custom_modules.config.sft import SFT, SftConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.without_effect import without_effect
from custom_modules.data.batches import Batch
from custom_modules.data.conversations import Conversations, load_conversations
from custom_modules.data.sample_batches import SampleLoader
from custom_modules.data.sample_steps import SampleStep, SampleSteps
from custom_modules.data.users import record_digests
from custom_modules.errors import DivergedError, StoppedBySignal
from custom_modules.objective import check_objective
from custom_modules.platform import Platform
from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.compatibility import check_samples
from custom_modules.run_folder.initial_weights import find_pretrained
from custom_modules.run_folder.newest import newest_checkpoint
from custom_modules.text import say
from custom_modules.training.answers_validation import AnswersValidation
from custom_modules.training.dry_run import dry_run, is_asked_for
from custom_modules.training.garbage import Garbage, collected_between_steps
from custom_modules.training.out_of_memory import VALIDATION
from custom_modules.training.run import TrainingRun, running_in_folder
from custom_modules.training.signals import StopRequest


def sft(config: SftConfig, stop: StopRequest) -> None:
    """Train every sample ``trainer.max_epochs`` times. Every rank calls it.

    Args:
        stop: the signals received so far; one that came before the first step lets that step be trained and saved.

    Raises:
        UserError: something in the config, the data or the run's folder has to change first.
        StoppedBySignal: a stop was asked for; the run is saved.
    """
    platform = Platform.detect(config)
    check_objective(config)
    conversations = load_conversations(config)
    notes = list(without_effect(config))
    with ExitStack() as stack:
        stack.enter_context(running_in_folder(config, platform))
        run = SftRun(config, platform, conversations, stop)
        if run.prepare():
            for note in notes if run.log.is_main else ():
                say(note)
            stack.callback(run.log.close)
            run.train()


class SftRun(TrainingRun):
    """The state of one process of a run.

    Args:
        config, conversations: what to train, on what.
        platform: already running.
        stop: the signals received so far.
    """

    def __init__(self, config: SftConfig, platform: Platform, conversations: Conversations, stop: StopRequest) -> None:
        self.steps = SampleSteps(config, conversations.train.lengths)
        super().__init__(config, platform, stop, self.steps)
        self.config = config
        self.conversations = conversations
        [self.longest] = Curriculum.from_config(config).stages
        rank = parallel_state.get_data_parallel_rank()
        self.loader = SampleLoader(
            conversations.pad_id, config.model.vocab_size, rank, platform.device, config.data.prefetch_factor
        )
        self.validation = AnswersValidation(config, conversations.validation)

    def prepare(self) -> bool:
        """Find the checkpoint, check the data, build the engine.

        Returns:
            False if there is nothing left to train.
        """
        config, say = self.config, self.log.say
        checkpoint, self.damaged = newest_checkpoint(config.run_dir, say)
        digest = on_rank_0(self.conversations.digest)
        if checkpoint is not None:
            consumed = checkpoint.consumed_tokens
            check_samples(config, digest, self.steps.steps_before(consumed) == checkpoint.step, checkpoint)
            if consumed == self.steps.total_tokens:
                say(f"{SFT} is finished: {checkpoint.path} has {consumed:,} tokens")
                return False
        on_rank_0(self.conversations.verify)
        base = on_rank_0(partial(find_pretrained, config, self.conversations)) if checkpoint is None else None
        bytes_before = self.platform.memory_bytes()
        self.build(self.longest, checkpoint, base)
        self.progress.stage, self.progress.data = SFT, {SFT: digest}
        self.progress.padding_has_share = False
        on_rank_0(partial(self._open_log, checkpoint, digest))
        self.log.start(checkpoint, base)
        if is_asked_for(config, self.platform):
            dry_run(self.engine, [self.longest], self.platform, bytes_before, say, resumed=checkpoint is not None)
        return True

    def _open_log(self, checkpoint: Checkpoint | None, digest: str) -> None:
        self.log.open(checkpoint, self.progress.consumed_tokens, begins_anew=checkpoint is None)
        record_digests(self.conversations.path, self.config.run_dir, {SFT: digest})

    def train(self) -> None:
        """Train to the end of the last epoch."""
        steps, progress = self.steps, self.progress
        self.log.say(
            f"{SFT}: {len(steps.lengths):,} samples of {steps.epoch_tokens:,} tokens, {steps.batch:,} a step = "
            f"{steps.steps_per_epoch:,} steps an epoch, {steps.epochs:,} epoch(s); step {progress.step:,} of "
            f"{steps.count:,}"
        )
        with collected_between_steps(self.config.model.gc_interval) as garbage:
            if not progress.consumed_tokens:
                self._evaluate()
                garbage.after_other_work()
            to_come = list(steps.from_step(progress.step))
            with self.loader.open(self.conversations.train, to_come) as batches:
                self._train_steps(to_come, batches, garbage)
        self.log.done(progress)

    def _train_steps(self, to_come: list[SampleStep], batches: Iterator[Batch], garbage: Garbage) -> None:
        config, progress = self.config, self.progress
        seconds, tokens = 0.0, 0
        answers = self.conversations.train.answer_tokens
        for step in to_come:
            begun = time.monotonic()
            garbage.before_step(progress.step)
            try:
                with self.room.found(self._as_stage(step)):
                    result = self.engine.train_step(batches, step)
            except DivergedError as error:
                raise self.diverged(error, SFT) from None
            batch = step.global_batch_tokens
            seconds, tokens = seconds + time.monotonic() - begun, tokens + batch
            progress.consumed_tokens = self.engine.consumed_tokens
            progress.step += 1
            progress.is_stage_end = step.is_epoch_end
            progress.add_step(result.loss, None, int(answers[list(step.real_samples)].sum()))
            progress.validation = None
            if self.due(config.trainer.log_every_n_tokens, batch):
                self.log.steps(progress, step, result, tokens / seconds)
                seconds, tokens = 0.0, 0
            if self.due(config.trainer.val_every_n_tokens, batch):
                self._evaluate()
                garbage.after_other_work()
            stop = self.stop.agreed(self.engine.device)
            if stop or self.due(config.exp_manager.checkpoint_callback_params.every_n_train_tokens, batch):
                path = self._save()
                if stop and progress.step < self.steps.count:
                    raise StoppedBySignal(f"{stop}: saved {path}; the same command goes on from there")
                garbage.after_other_work()

    def _as_stage(self, step: SampleStep) -> Stage:
        """Return the stage whose sequences are as long as a step's, for what has to do with room."""
        tokens = step.seq_length * self.longest.global_batch_size
        return replace(self.longest, seq_length=step.seq_length, global_batch_tokens=tokens)

    def _evaluate(self) -> None:
        with self.room.found(self.longest, VALIDATION):
            found = self.validation.evaluate(self.engine, self.loader)
        self.log.validation(self.progress, self.longest, found)

    def _save(self) -> Path:
        """Save, with the tokenizer that has the prompt format; a checkpoint is known by the one that it was made of."""
        return self.save(self.conversations.tokenizer_dir, self.conversations.base_sha256)
