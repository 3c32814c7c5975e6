"""`danube dpo`: one process of a run, from the newest checkpoint to the end of the last epoch."""

from __future__ import annotations

import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.config.dpo import DpoConfig
from custom_modules.data.preferences import Preferences, load_preferences
from custom_modules.dpo.base_model import BaseModel, base_of, find_base, load_base
from custom_modules.dpo.checkpoint import save_checkpoint
from custom_modules.dpo.compatibility import DATA, check_resumable
from custom_modules.dpo.devices import detect_platform, running
from custom_modules.dpo.libraries import import_libraries
from custom_modules.dpo.order import PairOrder
from custom_modules.dpo.pairs import Pairs, read_pairs
from custom_modules.dpo.settings import accumulation, adapter_config, training_arguments
from custom_modules.dpo.step import Step
from custom_modules.errors import DivergedError, StoppedBySignal, UserError
from custom_modules.folder_lock import folder_lock
from custom_modules.model.transformers_attention import NAME, register_attention
from custom_modules.platform import Platform
from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.run_folder.checkpoint_files import Checkpoint, list_folders
from custom_modules.run_folder.newest import newest_checkpoint
from custom_modules.run_folder.ownership import claim_run_folder
from custom_modules.run_folder.progress import Progress
from custom_modules.training.signals import StopRequest

if TYPE_CHECKING:
    from custom_modules.dpo.run_log import RunLog
    from custom_modules.dpo.trainer import PairTrainer

PROBES, PROBE_TOKENS = 16, 512
"""How many held-out conversations a checkpoint carries to compare an export with, and the most tokens of one."""


def dpo(config: DpoConfig, stop: StopRequest) -> None:
    """Train an adapter over all epochs. Every rank calls it.

    Args:
        stop: the signals received so far; one that came before the first step lets that step be trained and saved.

    Raises:
        UserError: something in the config, the data or the run's folder has to change first.
        StoppedBySignal: a stop was asked for; the run is saved.
    """
    import_libraries()
    accumulation(config)
    platform = detect_platform(config)
    preferences = load_preferences(config)
    with ExitStack() as stack:
        if platform.world.rank == 0:
            claim_run_folder(config.run_dir)
            stack.enter_context(folder_lock(config.run_dir, "exp_manager.name"))
        stack.enter_context(running(platform, config))
        run = DpoRun(config, platform, preferences, stop)
        if run.prepare():
            stack.callback(run.log.close)
            run.train()


class DpoRun:
    """The state of one process of a run.

    Args:
        platform: already running.
        stop: the signals received so far.
    """

    def __init__(self, config: DpoConfig, platform: Platform, preferences: Preferences, stop: StopRequest) -> None:
        self.config = config
        self.platform = platform
        self.preferences = preferences
        self.stop = stop
        self.progress = Progress()
        self.damaged: set[Path] = set()
        self.checkpoint: Checkpoint | None = None
        self.base: BaseModel
        self.order: PairOrder
        self.held_out: Pairs
        self.log: RunLog
        self.trainer: PairTrainer

    @property
    def steps(self) -> int:
        """Steps of the whole run."""
        return self.order.steps * self.config.trainer.max_epochs

    def prepare(self) -> bool:
        """Find the checkpoint, check the data, load the model.

        Returns:
            False if there is nothing left to train.
        """
        from custom_modules.dpo.run_log import RunLog

        config = self.config
        self.log = RunLog(config, self.platform)
        on_rank_0(self.preferences.verify)
        self.checkpoint, self.damaged = newest_checkpoint(config.run_dir, self.log.say)
        if self.checkpoint is not None:
            check_resumable(config, self.preferences.digest(), self.checkpoint)
            if self.checkpoint.is_stage_end:
                self.log.say(f"the run is finished: {self.checkpoint.path} has {self.checkpoint.step:,} steps")
                return False
            self.progress = self.checkpoint.progress
            self.progress.begin_after_checkpoint()
        self.base = on_rank_0(self._find_base)
        self.progress.data = {DATA: self.preferences.digest()}
        pairs = self._read()
        self._build(pairs)
        on_rank_0(partial(self.log.open, self.checkpoint, self.steps))
        self._say_what_begins(len(pairs))
        return True

    def train(self) -> None:
        """Train to the end of the last epoch."""
        if self.checkpoint is None:
            self._evaluate()
        self.log.begin(self.progress)
        try:
            self.trainer.train_from(self.checkpoint.path if self.checkpoint else None)
        except DivergedError as error:
            raise self._diverged(error) from None
        self.log.done(self.progress)

    def _read(self) -> Pairs:
        """Read the pairs, encoded as the export's own tokenizer does, and order those of the training."""
        from custom_modules.conversion.local_model import load_auto_tokenizer

        config, found = self.config, self.preferences
        if ChatTokenizer.load(self.base.export).sha256 != found.tokenizer_sha256:
            raise UserError(
                f"data.dir={config.data.dir}: prepared with another tokenizer than that of {self.base.export}; prepare "
                "the pairs with this config"
            )
        self.tokenizer = load_auto_tokenizer(self.base.export)
        length = config.model.encoder_seq_length
        pairs, self.held_out = (read_pairs(path, self.tokenizer, length) for path in (found.train, found.validation))
        self.order = PairOrder(pairs.tokens, config.model.global_batch_size, config.model.seed)
        if not self.order.steps:
            raise UserError(
                f"{config.data.dir}: {len(pairs):,} pairs, fewer than model.global_batch_size="
                f"{config.model.global_batch_size}; prepare more of them"
            )
        if not len(self.held_out):
            raise UserError(
                f"{config.data.dir}: no held-out pair; raise data.validation_fraction, and prepare it again"
            )
        return pairs

    def _find_base(self) -> BaseModel:
        if self.checkpoint is None:
            return find_base(self.config)
        path = self.config.model.restore_from_path
        return base_of(self.checkpoint, Path(path) if path else None)

    def _build(self, pairs: Pairs) -> None:
        from custom_modules.dpo.trainer import PairTrainer

        config = self.config
        register_attention()
        self.trainer = PairTrainer(
            self.order,
            self._after_step,
            model=load_base(self.base, NAME),
            args=training_arguments(config, self.platform.accelerator, self.order.steps),
            train_dataset=pairs.as_dataset(),
            processing_class=self.tokenizer,
            peft_config=adapter_config(config),
        )

    def _say_what_begins(self, pairs: int) -> None:
        config, say, world = self.config, self.log.say, self.platform.world
        say(f"{self.platform.device_name}: {world.size} process(es) over {self.platform.backend}, from {world.source}")
        if self.checkpoint is not None:
            say(f"resuming from {self.checkpoint.path}: step {self.progress.step:,} of {self.steps:,}")
        earlier = f" with {len(self.base.adapters)} adapter(s) merged in fp32" if self.base.adapters else ""
        trained = sum(tensor.numel() for tensor in self.trainer.model.parameters() if tensor.requires_grad)
        say(f"an adapter of {trained:,} parameters on {self.base.export}{earlier}")
        batch, left_out = config.model.global_batch_size, self.order.left_out
        beside = f"; {left_out:,} left out of each epoch, which would not make a whole batch" if left_out else ""
        say(
            f"{pairs:,} pairs, {batch:,} a step: {self.order.steps:,} steps an epoch{beside}; "
            f"{len(self.held_out):,} pairs held out"
        )

    def _after_step(self, step: Step) -> None:
        """Log, evaluate and save where that is due. Every rank calls it."""
        config, progress, last = self.config, self.progress, step.number == self.steps
        progress.step = step.number
        progress.consumed_tokens = self.order.tokens_after(step.number)
        progress.stage, progress.is_stage_end = DATA, last
        progress.add_step(step.loss, None, 1)
        progress.add_preferences(step.preferences)
        if last or self._due(config.trainer.log_every_n_samples):
            self.log.training(progress, step)
        if last or self._due(config.trainer.val_every_n_samples):
            self._evaluate()
        stop = self.stop.agreed(self.platform.device)
        if stop or last or self._due(config.exp_manager.checkpoint_callback_params.every_n_train_samples):
            path = self._save()
            if stop and not last:
                raise StoppedBySignal(f"{stop}: saved {path}; the same command goes on from there")

    def _due(self, every: int) -> bool:
        """Tell whether the last step passed a multiple of so many pairs."""
        batch, step = self.config.model.global_batch_size, self.progress.step
        return step * batch // every > (step - 1) * batch // every

    def _evaluate(self) -> None:
        from custom_modules.dpo.evaluation import evaluate

        found = evaluate(self.trainer, self.held_out, self.config.model.micro_batch_size)
        self.log.validation(self.progress, found)

    def _save(self) -> Path:
        begun = time.monotonic()
        path = save_checkpoint(self.trainer, self.config, self.base, self._probes(), self.progress, self.damaged)
        self.damaged.discard(path)
        self.progress.begin_after_checkpoint()
        self.log.say(f"saved {path} in {time.monotonic() - begun:.1f} s")
        return path

    def _probes(self) -> list[list[int]]:
        chosen = zip(self.held_out.prompts, self.held_out.chosen, strict=True)
        return [(prompt + answer)[:PROBE_TOKENS] for prompt, answer in chosen][:PROBES]

    def _diverged(self, error: DivergedError) -> DivergedError:
        last = [path for path in list_folders(self.config.run_dir) if path not in self.damaged]
        stands = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return DivergedError(f"step {self.progress.step + 1}: {error}; stopped without saving; {stands}")
