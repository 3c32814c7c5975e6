"""What a DPO run says while it trains: lines on stderr, and ``metrics.jsonl``; rank 0 alone says anything."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress

from custom_modules.config.dpo import DpoConfig
from custom_modules.dpo.evaluation import Evaluation
from custom_modules.dpo.step import Step
from custom_modules.errors import UserError
from custom_modules.platform import Platform
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.metrics import MetricsWriter, TrainMetrics, ValidationMetrics
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import record_published
from custom_modules.run_folder.run_config import write_run_config
from custom_modules.text import human_duration, say

STAGE = "dpo"
"""What the records of a run call its only stage."""


class RunLog:
    """The log and the metrics of one process of a run."""

    def __init__(self, config: DpoConfig, platform: Platform) -> None:
        self.config = config
        self.is_main = platform.world.rank == 0
        self.steps = 0
        self.metrics: MetricsWriter | None = None
        self.started = time.monotonic()
        self._since, self._tokens_then, self._step_then = self.started, 0, 0

    def say(self, message: str) -> None:
        """Say something once, whichever rank calls it."""
        if self.is_main:
            say(message)

    def open(self, checkpoint: Checkpoint | None, steps: int) -> None:
        """Write down what is started, and go on with the run's metrics; on rank 0.

        Args:
            checkpoint: what the run goes on from.
            steps: of the whole run.
        """
        self.steps = steps
        run_dir = self.config.run_dir
        write_run_config(self.config)
        if checkpoint is not None:
            with suppress(UserError):
                record_published(run_dir, checkpoint.consumed_tokens)
        # What was measured before the first step is measured again where a run begins anew.
        kept = checkpoint.consumed_tokens if checkpoint else -1
        self.metrics = MetricsWriter(run_dir, kept, self.config.exp_manager.create_tensorboard_logger)

    def begin(self, progress: Progress) -> None:
        """Measure the speed from here on."""
        self._since, self._tokens_then, self._step_then = time.monotonic(), progress.consumed_tokens, progress.step

    def close(self) -> None:
        """Close the files."""
        if self.metrics is not None:
            self.metrics.close()
            self.metrics = None

    def training(self, progress: Progress, last: Step) -> None:
        """Log the steps since the last such line, and begin to add up anew. Every rank calls it.

        Args:
            last: the last of them.
        """
        preferences = progress.take_mean_preferences()
        loss = progress.take_mean_loss()
        seconds = time.monotonic() - self._since
        speed = (progress.consumed_tokens - self._tokens_then) / seconds
        left = (self.steps - progress.step) * seconds / max(1, progress.step - self._step_then)
        self.begin(progress)
        if self.metrics is None:
            return
        say(
            f"{self._at(progress)}  loss {loss:.4f}  {_told(preferences)}  lr {last.learning_rate:.3e}  grad norm "
            f"{last.grad_norm:.3f}  {speed:,.0f} tokens/s  {human_duration(left)} left"
        )
        self.metrics.write(
            TrainMetrics(
                step=progress.step,
                tokens=progress.consumed_tokens,
                stage=STAGE,
                seq_length=self.config.model.encoder_seq_length,
                loss=loss,
                learning_rate=last.learning_rate,
                grad_norm=last.grad_norm,
                tokens_per_second=speed,
                elapsed_seconds=time.monotonic() - self.started,
                preferences=preferences,
            )
        )

    def validation(self, progress: Progress, found: Evaluation) -> None:
        """Log an evaluation of held-out pairs."""
        if self.metrics is None:
            return
        measured = f"held-out loss {found.loss:.4f}  {_told(found.preferences)}, over {found.pairs:,} pairs"
        say(f"{self._at(progress)}  {measured}")
        self.metrics.write(
            ValidationMetrics(
                step=progress.step,
                tokens=progress.consumed_tokens,
                stage=STAGE,
                seq_length=self.config.model.encoder_seq_length,
                loss=found.loss,
                preferences=found.preferences,
            )
        )

    def done(self, progress: Progress) -> None:
        """Say that the run has ended."""
        self.say(
            f"done: {progress.step * self.config.model.global_batch_size:,} pairs in {progress.step:,} steps, "
            f"{human_duration(time.monotonic() - self.started)} in this process"
        )

    def _at(self, progress: Progress) -> str:
        return f"{progress.step * self.config.model.global_batch_size:>9,} pairs  step {progress.step:,}"


def _told(preferences: Mapping[str, float]) -> str:
    return f"accuracy {preferences['accuracy']:.3f}  margin {preferences['margin']:.4f}"
