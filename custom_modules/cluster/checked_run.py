"""What a preflight asks of a run, whatever its kind. Needs no torch but for the imports of training."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.sft import SFT, SftConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.conversations import Conversations, load_conversations
from custom_modules.data.dali import require_loader
from custom_modules.data.layout import MANIFEST
from custom_modules.data.manifest import load_manifest
from custom_modules.data.sample_steps import SampleSteps
from custom_modules.errors import UserError
from custom_modules.objective import check_objective
from custom_modules.plan.room import checkpoints_to_come, tuned_checkpoints_to_come
from custom_modules.platform.environment import import_megatron_for
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.initial_weights import find_base, find_pretrained
from custom_modules.tasks.extra import require_tasks
from custom_modules.tasks.sizes import require_data


class CheckedRun(ABC):
    """A run that is to start."""

    config: TrainingConfig
    data_dir: str
    """Where its data is prepared."""
    begins_elsewhere: bool
    """Whether its first start begins with other weights than its own."""

    @property
    def sees_data(self) -> bool:
        """Whether this process sees that something is prepared."""
        return (Path(self.data_dir) / MANIFEST).is_file()

    @abstractmethod
    def require_loader(self) -> None:
        """Raise UserError for data that nothing here could load."""

    @abstractmethod
    def data_problem(self) -> str | None:
        """Return why this process could not begin with what is prepared, beside what training itself finds out."""

    def check_tasks(self) -> str | None:
        """Return which tasks the run is scored on; None where there are none.

        Raises:
            UserError: what that takes is not there.
        """
        return None

    @abstractmethod
    def import_training(self) -> None:
        """Import what a process of the run imports."""

    @abstractmethod
    def tokenizer(self) -> tuple[Path, str]:
        """Return the folder that goes into every checkpoint, and the hash that a checkpoint is known by.

        Raises:
            UserError: nothing is prepared.
        """

    @abstractmethod
    def base(self) -> Checkpoint | None:
        """Find the weights that the first start begins with, without reading them.

        Raises:
            UserError: there are none that fit.
        """

    @abstractmethod
    def target(self) -> tuple[str, int]:
        """Return what is trained last, by name, and the tokens that end it.

        Raises:
            UserError: the data says it, and cannot be read.
        """

    @abstractmethod
    def stages_to_come(self, consumed_tokens: int) -> Sequence[Stage]:
        """Return those of which a run at so many tokens has something left to train."""

    @abstractmethod
    def checkpoints_to_come(self, checkpoint: Checkpoint | None) -> tuple[int, int]:
        """Return the checkpoints that the run's folder has still to hold, and their bytes."""


class PretrainingRun(CheckedRun):
    """A run of `danube pretrain`."""

    def __init__(self, config: Config) -> None:
        self.config = self._config = config
        self.data_dir = config.data.dir
        self.begins_elsewhere = config.model.restore_from_path is not None

    def require_loader(self) -> None:
        require_loader(self._config)

    def data_problem(self) -> str | None:
        return None

    def check_tasks(self) -> str | None:
        options = self._config.trainer.evaluate
        if options is None:
            return None
        require_tasks(self._config)
        require_data(options)
        return f"{', '.join(options.tasks)}, of {Path(options.data).absolute()}"

    def import_training(self) -> None:
        import_megatron_for(self.config)
        import custom_modules.training.pretrain  # noqa: F401

    def tokenizer(self) -> tuple[Path, str]:
        manifest = load_manifest(self._config)
        return manifest.tokenizer_file.parent, manifest.tokenizer_sha256

    def base(self) -> Checkpoint | None:
        return find_base(self.config, load_manifest(self._config), verify_contents=False)

    @cached_property
    def _curriculum(self) -> Curriculum:
        return Curriculum.from_config(self.config)

    @cached_property
    def _target(self) -> Stage:
        name = self._config.curriculum.stage
        return self._curriculum.stage(name) if name else self._curriculum.stages[-1]

    def target(self) -> tuple[str, int]:
        return self._target.name, self._target.end_tokens

    def stages_to_come(self, consumed_tokens: int) -> Sequence[Stage]:
        return [
            stage
            for stage in self._curriculum.stages
            if stage.end_tokens > consumed_tokens and stage.start_tokens < self._target.end_tokens
        ]

    def checkpoints_to_come(self, checkpoint: Checkpoint | None) -> tuple[int, int]:
        return checkpoints_to_come(self._config, checkpoint)


class TuningRun(CheckedRun):
    """A run of `danube sft`."""

    begins_elsewhere = True

    def __init__(self, config: SftConfig) -> None:
        self.config = self._config = config
        self.data_dir = config.data.dir

    @cached_property
    def _conversations(self) -> Conversations:
        return load_conversations(self._config)

    def require_loader(self) -> None:
        """Raise nothing: there is one loader of conversations."""

    def data_problem(self) -> str | None:
        try:
            self.target()
        except UserError as error:
            return str(error)
        return None

    def import_training(self) -> None:
        import_megatron_for(self.config)
        import custom_modules.training.sft  # noqa: F401

    def tokenizer(self) -> tuple[Path, str]:
        return self._conversations.tokenizer_dir, self._conversations.base_sha256

    def base(self) -> Checkpoint | None:
        return find_pretrained(self._config, self._conversations, verify_contents=False)

    def target(self) -> tuple[str, int]:
        return SFT, SampleSteps(self._config, self._conversations.train.lengths).total_tokens

    def stages_to_come(self, consumed_tokens: int) -> Sequence[Stage]:
        return Curriculum.from_config(self.config).stages

    def checkpoints_to_come(self, checkpoint: Checkpoint | None) -> tuple[int, int]:
        return tuned_checkpoints_to_come(self._config, self.target()[1], checkpoint)


def checked_run(config: TrainingConfig) -> CheckedRun:
    """Return what there is to ask of a config's run.

    Raises:
        UserError: its objective is none that it can have.
    """
    check_objective(config)
    if isinstance(config, SftConfig):
        return TuningRun(config)
    assert isinstance(config, Config), "of the kinds of run there are"
    return PretrainingRun(config)
