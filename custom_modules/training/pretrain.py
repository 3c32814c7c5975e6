"""`danube pretrain`: one process of a run, from the newest checkpoint to the end of the stage or curriculum."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

from megatron.core import parallel_state

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.without_effect import only_prepared_with, without_effect
from custom_modules.data.batches import Batch
from custom_modules.data.dali import require_loader
from custom_modules.data.dataset import short_parts, training_dataset
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest, load_manifest
from custom_modules.data.tokenizer_check import check_tokenizer
from custom_modules.data.users import record_user
from custom_modules.data.validation_limits import check_limit, check_windows, source_limits
from custom_modules.data.validation_set import ValidationSet, choose_validation, read_validation
from custom_modules.data.verify import verify_part
from custom_modules.errors import DivergedError, StoppedBySignal, UserError
from custom_modules.folder_lock import folder_lock
from custom_modules.objective import check_objective
from custom_modules.plan.flops import flops_per_token, run_peak_flops
from custom_modules.platform import Platform, cpu_threads
from custom_modules.platform.rank_0 import on_rank_0, own_share
from custom_modules.run_folder.checkpoint_files import Checkpoint, find_newest, list_folders
from custom_modules.run_folder.compatibility import check_resumable
from custom_modules.run_folder.initial_weights import changes, find_base
from custom_modules.run_folder.metrics import MetricsWriter, TrainMetrics, ValidationMetrics
from custom_modules.run_folder.ownership import INDEX_CACHE, claim_run_folder
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.published import record_published
from custom_modules.run_folder.run_config import CONFIG, write_run_config
from custom_modules.text import human_duration, say
from custom_modules.training.batch_log import describe_batch, describe_phase
from custom_modules.training.checkpoint import load_checkpoint, load_initial_weights, save_checkpoint
from custom_modules.training.dry_run import dry_run, is_asked_for
from custom_modules.training.engine import Engine
from custom_modules.training.garbage import Garbage, collected_between_steps
from custom_modules.training.out_of_memory import STATE, VALIDATION, Room
from custom_modules.training.signals import StopRequest
from custom_modules.training.validation import Validation


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
    check_objective(config)
    manifest = load_manifest(config)
    notes = [*check_tokenizer(config, manifest), *without_effect(config), *only_prepared_with(config)]
    with ExitStack() as stack:
        if platform.world.rank == 0:
            claim_run_folder(config.run_dir)
            stack.enter_context(folder_lock(config.run_dir, "exp_manager.name"))
        stack.enter_context(platform.running(config))
        run = PretrainRun(config, platform, manifest, stop)
        if run.prepare():
            for note in notes if run.is_main else ():
                say(note)
            stack.callback(run.close)
            run.train()


class PretrainRun:
    """The state of one process of a run.

    Args:
        config, manifest: what to train, on what.
        platform: already running.
        stop: the signals received so far.
    """

    def __init__(self, config: Config, platform: Platform, manifest: Manifest, stop: StopRequest) -> None:
        self.config = config
        self.platform = platform
        self.manifest = manifest
        self.stop = stop
        self.curriculum = Curriculum.from_config(config)
        rank = parallel_state.get_data_parallel_rank()
        self.loader = Loader(config.data, config.model.vocab_size, rank, platform.device)
        self.is_main = platform.world.rank == 0
        self.progress = Progress()
        self.engine: Engine
        self.metrics: MetricsWriter | None = None
        self.damaged: set[Path] = set()
        self.chosen: ValidationSet | None = None
        self.room = Room(config, platform)
        self.started = time.monotonic()

    @property
    def target(self) -> Stage:
        """The last stage to train."""
        name = self.config.curriculum.stage
        return self.curriculum.stage(name) if name else self.curriculum.stages[-1]

    def prepare(self) -> bool:
        """Find the checkpoint, check the data, build the engine.

        Returns:
            False if there is nothing left to train.
        """
        checkpoint = self._newest_checkpoint()
        self._check_predecessor(checkpoint)
        if checkpoint is not None:
            check_resumable(self.config, self.curriculum, self.manifest, checkpoint)
            if checkpoint.consumed_tokens >= self.target.end_tokens:
                self._say(
                    f"{self.target.name} is finished: {checkpoint.path} has {checkpoint.consumed_tokens:,} tokens"
                )
                return False
        self._verify_data(checkpoint)
        base = on_rank_0(lambda: find_base(self.config, self.manifest)) if checkpoint is None else None
        limits = self._choose_validation(checkpoint)
        begins_anew = checkpoint is None and base is None
        bytes_before = self.platform.memory_bytes()
        to_come = self._stages_to_come(checkpoint)
        self.room = Room(self.config, self.platform, resumed=checkpoint is not None)
        with self.room.found(to_come[0], STATE):
            self.engine = Engine(self.config, self.curriculum, self.platform, initial_weights=begins_anew)
            if checkpoint is not None:
                self.progress = load_checkpoint(self.engine, checkpoint)
            elif base is not None:
                load_initial_weights(self.engine, base)
        self.progress.validation_limits = limits
        self._say_padding(checkpoint)
        self.progress.padding_has_share = False
        on_rank_0(partial(self._open_records, checkpoint))
        self._say_start(checkpoint, base)
        if is_asked_for(self.config, self.platform):
            dry_run(self.engine, to_come, self.platform, bytes_before, self._say, resumed=checkpoint is not None)
        return True

    def _open_records(self, checkpoint: Checkpoint | None) -> None:
        """Write down what is started, and go on with the run's metrics."""
        run_dir = self.config.run_dir
        write_run_config(self.config)
        record_user(self.manifest, run_dir)
        if checkpoint is not None:
            with suppress(UserError):
                record_published(run_dir, checkpoint.consumed_tokens)
        with_events = self.config.exp_manager.create_tensorboard_logger
        self.metrics = MetricsWriter(run_dir, self.progress.consumed_tokens, with_events)

    def close(self) -> None:
        if self.metrics is not None:
            self.metrics.close()

    def train(self) -> None:
        """Train stage after stage up to the target."""
        with collected_between_steps(self.config.model.gc_interval) as garbage:
            while self.progress.consumed_tokens < self.target.end_tokens:
                stage = self.curriculum.at(self.progress.consumed_tokens)
                assert stage is not None
                self._train_stage(stage, garbage)
        self._say(
            f"done: {self.progress.consumed_tokens:,} tokens in {self.progress.step:,} steps, "
            f"{human_duration(time.monotonic() - self.started)} in this process"
        )

    def _train_stage(self, stage: Stage, garbage: Garbage) -> None:
        config, progress = self.config, self.progress
        cache = config.run_dir / INDEX_CACHE
        dataset = training_dataset(config, self.manifest, stage, cache)
        validation = Validation(config, self.manifest, stage, cache, self.chosen)
        progress.data[stage.name] = self.manifest.digest(stage.name)
        for line in describe_batch(config, stage, progress.consumed_tokens):
            self._say(line)
        with self.loader.open_stage(dataset, stage, progress.consumed_tokens) as batches:
            self._train_steps(stage, batches, validation, garbage)

    def _train_steps(self, stage: Stage, batches: Iterator[Batch], validation: Validation, garbage: Garbage) -> None:
        """Train to the end of the stage."""
        config, progress = self.config, self.progress
        seconds, tokens = 0.0, 0
        for phase in self._steps(stage):
            begun = time.monotonic()
            garbage.before_step(progress.step)
            try:
                with self.room.found(phase):
                    result = self.engine.train_step(batches, phase)
            except DivergedError as error:
                raise self._diverged(error, stage) from None
            seconds, tokens = seconds + time.monotonic() - begun, tokens + phase.global_batch_tokens
            progress.consumed_tokens = self.engine.consumed_tokens
            progress.step += 1
            progress.stage = stage.name
            progress.is_stage_end = progress.consumed_tokens == stage.end_tokens
            weight = 1 if stage.rampup is None else phase.global_batch_size
            progress.add_loss(result.loss, weight)
            progress.validation = None
            if self._due(phase, config.trainer.log_every_n_tokens):
                self._log(stage, result.learning_rate, result.grad_norm, tokens / seconds)
                seconds, tokens = 0.0, 0
            if self._due(phase, config.trainer.val_every_n_tokens):
                self._evaluate(stage, validation)
                garbage.after_other_work()
            stop = self.stop.agreed(self.engine.device)
            if stop or self._due(phase, config.exp_manager.checkpoint_callback_params.every_n_train_tokens):
                path = self._save()
                if stop and not (progress.is_stage_end and stage is self.target):
                    raise StoppedBySignal(f"{stop}: saved {path}; the same command goes on from there")
                garbage.after_other_work()

    def _steps(self, stage: Stage) -> Iterator[Stage]:
        """Yield the phase of each step that is left of a stage; a phase is announced before its first."""
        for number, phase in enumerate(stage.phases, start=1):
            if self.progress.consumed_tokens < phase.end_tokens and stage.rampup is not None:
                self._say(describe_phase(phase, number, len(stage.phases)))
            while self.progress.consumed_tokens < phase.end_tokens:
                yield phase

    def _due(self, phase: Stage, every: int) -> bool:
        """Whether the last step, one of ``phase``, passed a multiple of ``every`` tokens, or ended the stage."""
        now, batch = self.progress.consumed_tokens, phase.global_batch_tokens
        return self.progress.is_stage_end or now // every > (now - batch) // every

    def _log(self, stage: Stage, learning_rate: float, grad_norm: float, tokens_per_second: float) -> None:
        progress = self.progress
        loss = progress.loss_sum / progress.loss_steps
        progress.loss_sum, progress.loss_steps = 0.0, 0
        if self.metrics is None:
            return
        peak = run_peak_flops(self.config, self.platform.device_name)
        flops = flops_per_token(self.config, stage.seq_length) * tokens_per_second
        mfu = flops / (peak * self.platform.world.size) if peak else None
        left = (self.curriculum.total_tokens - progress.consumed_tokens) / tokens_per_second
        say(
            f"{progress.consumed_tokens:>16,} tokens  {stage.name}  step {progress.step:,}  loss {loss:.4f}  "
            f"lr {learning_rate:.3e}  grad norm {grad_norm:.3f}  {tokens_per_second:,.0f} tokens/s  "
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
                learning_rate=learning_rate,
                grad_norm=grad_norm,
                tokens_per_second=tokens_per_second,
                mfu=mfu,
                elapsed_seconds=time.monotonic() - self.started,
            )
        )

    def _evaluate(self, stage: Stage, validation: Validation) -> None:
        with self.room.found(stage, VALIDATION):
            found = validation.evaluate(self.engine, self.loader)
        self.progress.validation = found.record
        if self.metrics is not None:
            tokens = self.progress.consumed_tokens
            bits = f", {found.bits_per_byte:.4f} bits a byte" if found.bits_per_byte is not None else ""
            each = "".join(f"  {source} {loss:.4f}" for source, loss in (found.sources or {}).items())
            say(
                f"{tokens:>16,} tokens  {stage.name}  validation loss {found.loss:.4f}{bits}, over {found.tokens:,} "
                f"tokens{each}"
            )
            self.metrics.write(
                ValidationMetrics(
                    step=self.progress.step,
                    tokens=tokens,
                    stage=stage.name,
                    seq_length=stage.seq_length,
                    loss=found.loss,
                    bits_per_byte=found.bits_per_byte,
                    sources=found.sources,
                )
            )

    def _save(self) -> Path:
        begun = time.monotonic()
        path = save_checkpoint(
            self.engine,
            self.config.run_dir,
            self.progress,
            self.manifest.tokenizer_file.parent,
            self.manifest.tokenizer_sha256,
            self.damaged,
        )
        self.damaged.discard(path)
        self.progress.begin_after_checkpoint()
        self._say(f"saved {path} in {time.monotonic() - begun:.1f} s")
        return path

    def _newest_checkpoint(self) -> Checkpoint | None:
        """What rank 0 finds, on every rank: hashing it once is enough."""
        checkpoint, problems = on_rank_0(lambda: find_newest(self.config.run_dir))
        for problem in problems:
            self._say(f"skipped a checkpoint and left it in place: {problem}")
        if not self.is_main:
            return checkpoint
        if checkpoint is not None:
            self.damaged = {path for path in list_folders(self.config.run_dir) if path.name > checkpoint.path.name}
        elif (self.config.run_dir / CONFIG).is_file():
            self._say("this run was started before and has published no checkpoint: it begins anew, at 0 tokens")
        return checkpoint

    def _check_predecessor(self, checkpoint: Checkpoint | None) -> None:
        """A stage run on its own starts where the one before it ended."""
        if self.config.curriculum.stage is None:
            return
        consumed = checkpoint.consumed_tokens if checkpoint else 0
        if consumed < self.target.start_tokens:
            raise UserError(
                f"curriculum.stage={self.target.name}: starts at {self.target.start_tokens:,} tokens, but "
                f"{self.config.run_dir} is at {consumed:,}; run the stages before it first"
            )

    def _verify_data(self, checkpoint: Checkpoint | None) -> None:
        """Rank 0 looks at the files of the stages still to train; a problem stops every rank."""
        left = self._stages_to_come(checkpoint)

        def verify() -> None:
            for stage in left:
                for short in short_parts(self.config, self.manifest, stage):
                    self._say(short)
            parts = [part for stage in left for part in self.manifest.parts(stage.name, "train")]
            parts += [part for name in self.manifest.stages for part in self.manifest.parts(name, "validation")]
            for part in parts:
                verify_part(part, self.config.model.vocab_size, self.manifest.eos_id)

        on_rank_0(verify)

    def _choose_validation(self, checkpoint: Checkpoint | None) -> dict[str, int] | None:
        """Choose the documents that the run is validated on, or find those that it began with; returns their limits."""
        limits: dict[str, int] | None = source_limits(self.config, self.manifest)
        if checkpoint is not None and checkpoint.consumed_tokens:
            begun = checkpoint.progress.validation_limits
            if begun is not None and begun != limits:
                self._say(
                    f"validation stays on the {sum(begun.values()):,} tokens that this run began with, whatever "
                    "trainer.limit_val_tokens and the mixes are now"
                )
            limits = begun
        else:
            for line in on_rank_0(partial(check_limit, self.config, self.manifest)):
                self._say(line)
        if limits is None:
            check_windows(self.config, self.manifest, self._stages_to_come(checkpoint))
        else:
            cache = self.config.run_dir / INDEX_CACHE
            path = on_rank_0(partial(choose_validation, self.manifest, limits, cache))
            with own_share():
                self.chosen = read_validation(path)
        return limits

    def _stages_to_come(self, checkpoint: Checkpoint | None) -> list[Stage]:
        """Return those of which something is left to train, up to the target."""
        consumed = checkpoint.consumed_tokens if checkpoint else 0
        return [
            s for s in self.curriculum.stages if s.end_tokens > consumed and s.start_tokens < self.target.end_tokens
        ]

    def _say_start(self, checkpoint: Checkpoint | None, base: Checkpoint | None) -> None:
        world, platform = self.platform.world, self.platform
        threads = f", {cpu_threads(self.config)} thread(s) each" if platform.accelerator == "cpu" else ""
        self._say(
            f"{platform.device_name}: {world.size} process(es) over {platform.backend}{threads}, from {world.source}"
        )
        for note in platform.kernels.notes:
            self._say(note)
        if checkpoint is not None:
            self._say(
                f"resuming from {checkpoint.path}: {checkpoint.consumed_tokens:,} tokens, step {checkpoint.step:,}"
            )
        elif base is not None:
            changed = "; ".join(changes(self.config, base))
            left = "" if base.weights_only else ", not with its optimizer state"
            self._say(f"beginning with the weights of {base.path}{left}{f' ({changed})' if changed else ''}")
        optim = self.config.model.optim
        self._say(
            f"one cosine over {self.curriculum.total_tokens:,} tokens: {optim.sched.warmup_tokens:,} to warm up to "
            f"{optim.lr:g}, then down to {optim.sched.min_lr:g}"
        )

    def _say_padding(self, checkpoint: Checkpoint | None) -> None:
        """Say that a run of a version before 0.2 goes on with a loss which its padding has no share in."""
        padding = checkpoint.config().model.padding_rows if checkpoint is not None else 0
        if padding and self.progress.consumed_tokens and self.progress.padding_has_share:
            self._say(
                f"{padding} rows that pad the vocabulary (model.vocab_size={self.config.model.vocab_size}) took their "
                "share of every probability so far; from here on they have none, and the loss is lower by that much"
            )

    def _diverged(self, error: DivergedError, stage: Stage) -> DivergedError:
        last = [path for path in list_folders(self.config.run_dir) if path not in self.damaged]
        stands = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return DivergedError(f"step {self.progress.step + 1} ({stage.name}): {error}; stopped without saving; {stands}")

    def _say(self, message: str) -> None:
        if self.is_main:
            say(message)
