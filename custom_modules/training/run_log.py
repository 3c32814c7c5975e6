"""What a run says while it trains: lines on stderr, and ``metrics.jsonl``; rank 0 alone says anything."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Protocol

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Schedule
from custom_modules.errors import UserError
from custom_modules.plan.flops import ALL_SEEN, Pairs, flops_per_token, run_peak_flops
from custom_modules.platform import Platform, cpu_threads
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.initial_weights import changes
from custom_modules.run_folder.metrics import EvaluationMetrics, MetricsWriter, TrainMetrics, ValidationMetrics
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import record_published
from custom_modules.run_folder.rollbacks import Rollback
from custom_modules.run_folder.run_config import write_run_config
from custom_modules.text import human_duration, say
from custom_modules.training.engine import StepResult
from custom_modules.training.task_scores import TaskScores
from custom_modules.training.validation import Evaluation


class Sequences(Protocol):
    """What a line of the log is about: a stage, or a step of samples."""

    @property
    def name(self) -> str:
        """The stage's."""
        ...

    @property
    def seq_length(self) -> int:
        """Tokens of a sequence."""
        ...


class RunLog:
    """The log and the metrics of one process of a run.

    Args:
        platform: already running.
    """

    def __init__(self, config: TrainingConfig, schedule: Schedule, platform: Platform) -> None:
        self.config = config
        self.schedule = schedule
        self.platform = platform
        self.pairs: Pairs = ALL_SEEN
        """What MFU counts of attention."""
        self.metrics: MetricsWriter | None = None
        self.started = time.monotonic()
        self._scoring_seconds = 0.0

    @property
    def is_main(self) -> bool:
        return self.platform.world.rank == 0

    def say(self, message: str) -> None:
        """Say something once, whichever rank calls it."""
        if self.is_main:
            say(message)

    def open(self, checkpoint: Checkpoint | None, consumed_tokens: int, begins_anew: bool = False) -> None:
        """Write down what is started, and go on with the run's metrics; on rank 0.

        Args:
            checkpoint: what the run goes on from.
            consumed_tokens: where the run is.
            begins_anew: whether what it logged before its first step is dropped, too: it will log that again.
        """
        run_dir = self.config.run_dir
        write_run_config(self.config)
        if checkpoint is not None:
            with suppress(UserError):
                record_published(run_dir, checkpoint.consumed_tokens)
        kept = -1 if begins_anew else consumed_tokens
        self.metrics = MetricsWriter(run_dir, kept, self.config.exp_manager.create_tensorboard_logger)

    def close(self) -> None:
        if self.metrics is not None:
            self.metrics.close()
            self.metrics = None

    def start(self, checkpoint: Checkpoint | None, base: Checkpoint | None) -> None:
        """Say on what the run trains, and what it begins with.

        Args:
            checkpoint: what it goes on from.
            base: or whose weights it begins with.
        """
        world, platform = self.platform.world, self.platform
        threads = f", {cpu_threads(self.config)} thread(s) each" if platform.accelerator == "cpu" else ""
        self.say(
            f"{platform.device_name}: {world.size} process(es) over {platform.backend}{threads}, from {world.source}"
        )
        for note in platform.kernels.notes:
            self.say(note)
        if checkpoint is not None:
            self.say(
                f"resuming from {checkpoint.path}: {checkpoint.consumed_tokens:,} tokens, step {checkpoint.step:,}"
            )
        elif base is not None:
            changed = "; ".join(changes(self.config, base))
            left = "" if base.weights_only else ", not with its optimizer state"
            self.say(f"beginning with the weights of {base.path}{left}{f' ({changed})' if changed else ''}")
        optim = self.config.model.optim
        self.say(
            f"one cosine over {self.schedule.total_tokens:,} tokens: {self.schedule.warmup_tokens:,} to warm up to "
            f"{optim.lr:g}, then down to {optim.sched.min_lr:g}"
        )

    def padding(self, checkpoint: Checkpoint | None, progress: Progress) -> None:
        """Say that a run of a version before 0.2 goes on with a loss which its padding has no share in."""
        padding = checkpoint.config().model.padding_rows if checkpoint is not None else 0
        if padding and progress.consumed_tokens and progress.padding_has_share:
            self.say(
                f"{padding} rows that pad the vocabulary (model.vocab_size={self.config.model.vocab_size}) took their "
                "share of every probability so far; from here on they have none, and the loss is lower by that much"
            )

    def steps(self, progress: Progress, stage: Sequences, last: StepResult, tokens_per_second: float) -> None:
        """Log the steps since the last such line, and begin to add up anew. Every rank calls it.

        Args:
            last: what the last of them found.
        """
        loss = progress.take_mean_loss()
        distilled = progress.distilled.take()
        if self.metrics is None:
            return
        peak = run_peak_flops(self.config, self.platform.device_name)
        per_token = flops_per_token(self.config, stage.seq_length, self.pairs.get(stage.name))
        flops = per_token * tokens_per_second
        mfu = flops / (peak * self.platform.world.size) if peak else None
        left = (self.schedule.total_tokens - progress.consumed_tokens) / tokens_per_second
        say(
            f"{progress.consumed_tokens:>16,} tokens  {stage.name}  step {progress.step:,}  loss {loss:.4f}  "
            + (f"{distilled}  " if distilled else "")
            + f"lr {last.learning_rate:.3e}  grad norm {last.grad_norm:.3f}  {tokens_per_second:,.0f} tokens/s  "
            + (f"MFU {mfu:.1%}  " if mfu is not None else "")
            + f"{human_duration(left)} left"
        )
        self.metrics.write(
            TrainMetrics(
                step=progress.step,
                tokens=progress.consumed_tokens,
                stage=stage.name,
                seq_length=stage.seq_length,
                loss=loss,
                objective=distilled.objective if distilled else None,
                wins=distilled.wins if distilled else None,
                learning_rate=last.learning_rate,
                grad_norm=last.grad_norm,
                tokens_per_second=tokens_per_second,
                mfu=mfu,
                elapsed_seconds=time.monotonic() - self.started,
            )
        )

    def validation(self, progress: Progress, stage: Sequences, found: Evaluation) -> None:
        """Log a validation."""
        if self.metrics is None:
            return
        tokens = progress.consumed_tokens
        bits = f", {found.bits_per_byte:.4f} bits a byte" if found.bits_per_byte is not None else ""
        each = "".join(f"  {source} {loss:.4f}" for source, loss in (found.sources or {}).items())
        say(
            f"{tokens:>16,} tokens  {stage.name}  validation loss {found.loss:.4f}{bits}, over {found.tokens:,} "
            f"tokens{each}"
        )
        self.metrics.write(
            ValidationMetrics(
                step=progress.step,
                tokens=tokens,
                stage=stage.name,
                seq_length=stage.seq_length,
                loss=found.loss,
                bits_per_byte=found.bits_per_byte,
                sources=found.sources,
            )
        )

    def tasks(self, progress: Progress, stage: Sequences, found: TaskScores | None) -> None:
        """Log a scoring of tasks.

        Args:
            found: None on the ranks that have not graded it.
        """
        if self.metrics is None or found is None:
            return
        self._scoring_seconds += found.seconds
        elapsed = time.monotonic() - self.started
        share = self._scoring_seconds / elapsed
        say(
            f"{progress.consumed_tokens:>16,} tokens  {stage.name}  {found.describe()}; {found.items:,} items in "
            f"{found.seconds:.1f} s, with those before {share:.1%} of {human_duration(elapsed)}"
        )
        self.metrics.write(
            EvaluationMetrics(
                step=progress.step,
                tokens=progress.consumed_tokens,
                stage=stage.name,
                accuracy=found.accuracy,
                bits_per_byte=found.bits_per_byte,
                items=found.items,
                scored_tokens=found.tokens,
                evaluation_seconds=found.seconds,
                share_of_time=share,
            )
        )

    def rollback(self, last: Rollback, count: int, checkpoint: Checkpoint) -> None:
        """Say that the run went back.

        Args:
            count: how often it has by then.
        """
        self.say(
            f"spike in {last.stage}: {last.reason}; high from {last.first_high_tokens:,} to {last.spike_tokens:,} "
            f"tokens; rollback {count} goes on from {checkpoint.path}: {last.from_tokens:,} tokens, what is left of "
            f"the stage in the order of seed {last.seed}; what was trained behind it is kept as rolled_back_{count - 1}"
        )

    def done(self, progress: Progress) -> None:
        self.say(
            f"done: {progress.consumed_tokens:,} tokens in {progress.step:,} steps, "
            f"{human_duration(time.monotonic() - self.started)} in this process"
        )
