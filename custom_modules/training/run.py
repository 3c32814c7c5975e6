"""What runs of every kind that train all weights share: the folder, the engine, and the saving of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Schedule, Stage
from custom_modules.errors import DivergedError
from custom_modules.folder_lock import folder_lock
from custom_modules.platform import Platform
from custom_modules.run_folder.checkpoint_files import Checkpoint, list_folders
from custom_modules.run_folder.ownership import claim_run_folder
from custom_modules.run_folder.progress import Progress
from custom_modules.training.checkpoint import load_checkpoint, load_initial_weights, save_checkpoint
from custom_modules.training.engine import Engine
from custom_modules.training.out_of_memory import STATE, Room
from custom_modules.training.random_state import random_state
from custom_modules.training.run_log import RunLog
from custom_modules.training.signals import StopRequest


@contextmanager
def running_in_folder(config: TrainingConfig, platform: Platform) -> Iterator[None]:
    """Hold the run's folder against other runs, and the processes together.

    Raises:
        UserError: the folder is another's, or another process holds it.
    """
    if platform.world.rank == 0:
        claim_run_folder(config.run_dir)
        with folder_lock(config.run_dir, "exp_manager.name"), platform.running(config):
            yield
    else:
        with platform.running(config):
            yield


class TrainingRun:
    """The state of one process of a run.

    Args:
        config: what to train.
        platform: already running.
        stop: the signals received so far.
        schedule: how long the run is.
    """

    def __init__(self, config: TrainingConfig, platform: Platform, stop: StopRequest, schedule: Schedule) -> None:
        self.platform = platform
        self.stop = stop
        self.schedule = schedule
        self.log = RunLog(config, schedule, platform)
        self.progress = Progress()
        self.engine: Engine
        self.damaged: set[Path] = set()
        self.room = Room(config, platform)
        self._config = config

    def build(self, first: Stage, checkpoint: Checkpoint | None, base: Checkpoint | None) -> None:
        """Build the engine, with the weights and all else that the run goes on with. Collective.

        Args:
            first: what is trained first, for a message.
            checkpoint: what the run goes on from.
            base: or whose weights it begins with; None for both: with its own.
        """
        begins_anew = checkpoint is None and base is None
        self.room = Room(self._config, self.platform, resumed=checkpoint is not None)
        with self.room.found(first, STATE):
            self.engine = Engine(self._config, self.schedule, self.platform, initial_weights=begins_anew)
            self.begin_random_state = random_state()
            if checkpoint is not None:
                self.progress = load_checkpoint(self.engine, checkpoint)
            elif base is not None:
                load_initial_weights(self.engine, base)

    def save(self, tokenizer: Path, tokenizer_sha256: str, prunes: bool = True) -> Path:
        """Save a checkpoint, and say so. Collective.

        Args:
            tokenizer: the folder of which a copy goes into it.
            prunes: whether older ones are pruned.
        """
        begun = time.monotonic()
        path = save_checkpoint(
            self.engine, self._config.run_dir, self.progress, tokenizer, tokenizer_sha256, self.damaged, prunes
        )
        self.damaged.discard(path)
        self.progress.begin_after_checkpoint()
        self.log.say(f"saved {path} in {time.monotonic() - begun:.1f} s")
        return path

    def due(self, every: int, batch_tokens: int) -> bool:
        """Whether the last step, of so many tokens, passed a multiple of ``every``, or ended its stage."""
        now = self.progress.consumed_tokens
        return self.progress.is_stage_end or now // every > (now - batch_tokens) // every

    def diverged(self, error: DivergedError, stage: str, advice: str = "") -> DivergedError:
        """Word where the run stands after a step that is lost.

        Args:
            advice: what the run could do by itself, with a semicolon at its end.
        """
        last = [path for path in list_folders(self._config.run_dir) if path not in self.damaged]
        stands = f"the last good checkpoint is {last[-1]}" if last else "there is no checkpoint yet"
        return DivergedError(
            f"step {self.progress.step + 1} ({stage}): {error}; stopped without saving; {advice}{stands}"
        )
