"""What does not fit, in one line: the stage, the key that made it so large, and what has it fit by the plan."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from custom_modules.config.batch import micro_batch
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Stage
from custom_modules.errors import EXIT_PASSING, OwnShareError
from custom_modules.plan.memory import OUTSIDE_TORCH, fullest_device
from custom_modules.plan.remedies import advice
from custom_modules.platform import Platform

GIB = 2**30

PHRASES = ("out of memory", "an't allocate memory", "annot allocate memory", "not enough memory", "ALLOC_FAILED")
"""What CUDA, NCCL, cuBLAS, the system and torch's allocator on a CPU say in errors that are not about memory alone."""

OF_THE_MACHINE = ("DefaultCPUAllocator", "annot allocate memory", "pin")
"""What is in the words of an error that is about the machine's memory, also where the devices are GPUs."""

OF_ANOTHER = re.compile(r"Process \d+ has ([\d.]+) GiB memory in use")
"""How torch says that the GPU has another process."""

DETERMINISTIC = "; or trainer.deterministic=false: what cuDNN's attention works in with it is in no plan"

WITHOUT_TASKS = "set trainer.evaluate=null, and give the run's checkpoints to `danube evaluate`"

STATE = "the weights, the gradients and the optimizer's state"
VALIDATION = "validation"
TASKS = "passes of trainer.evaluate's tasks"
"""Names of what else than a step needs room."""


class NoRoomError(OwnShareError):
    """What this process was told to do takes more memory than there is."""


class NoRoomAnyMoreError(OwnShareError):
    """What has found room before does not: it may again in processes that are started anew."""

    exit_code = EXIT_PASSING


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a device or the machine has no memory left."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


class Room:
    """Finds room on this process's device for one thing after another, and says what did not fit.

    Args:
        resumed: the run goes on from a checkpoint, and some keys cannot change any more.
    """

    def __init__(self, config: TrainingConfig, platform: Platform, resumed: bool = False) -> None:
        self.config = config
        self.platform = platform
        self.resumed = resumed
        self._fitted: set[tuple[str, int, int, str | None]] = set()

    @contextmanager
    def found(self, stage: Stage, what: str | None = None) -> Iterator[None]:
        """Say in one line that there is no room for something.

        Args:
            what: needs it; None: a step of the stage.

        Raises:
            NoRoomError: it never fitted.
            NoRoomAnyMoreError: it has fitted before in this process.
        """
        try:
            yield
        except (RuntimeError, MemoryError, OSError) as error:
            if not is_out_of_memory(error):
                raise
            if _key(stage, what) in self._fitted:
                raise NoRoomAnyMoreError(self._not_any_more(stage, what, error)) from error
            raise NoRoomError(self._too_large(stage, what, error)) from error
        self._fitted.add(_key(stage, what))

    def _not_any_more(self, stage: Stage, what: str | None, error: BaseException) -> str:
        remedy = WITHOUT_TASKS if what == TASKS else f"lower {micro_batch(self.config, stage.name).key}"
        return (
            f"{self._subject(stage, what)} had room before, and memory ran out ({_said(error)}); the same command "
            f"goes on from the last checkpoint; if it comes again, {remedy}"
        )

    def _too_large(self, stage: Stage, what: str | None, error: BaseException) -> str:
        config, platform = self.config, self.platform
        if platform.accelerator == "gpu" and _is_of_the_machine(error):
            return (
                f"{self._subject(stage, what)}: the memory of the machine ran out, not that of {platform.device_name} "
                f"({_said(error)}); give the job more, with Slurm's --mem"
            )
        others = sum(float(size) for size in OF_ANOTHER.findall(str(error)))
        room = platform.device_bytes() - (OUTSIDE_TORCH if platform.accelerator == "gpu" else 0)
        on_cpu = not platform.kernels.transformer_engine
        planned = fullest_device(config, stage, on_cpu).total
        what_to_do = (
            f"other processes have {others:,.1f} GiB of it: end them (nvidia-smi lists them), or take another GPU"
            if others > 1
            else WITHOUT_TASKS
            if what == TASKS
            else advice(config, stage.name, room, on_cpu, self.resumed)
        )
        return (
            f"{self._subject(stage, what)} do not fit into the {room / GIB:,.1f} GiB of {platform.device_name}, where "
            f"the plan counts {planned / GIB:,.1f} GiB ({_said(error)}); {what_to_do}"
            + (DETERMINISTIC if config.trainer.deterministic and platform.kernels.transformer_engine else "")
        )

    def _subject(self, stage: Stage, what: str | None) -> str:
        """Name the stage and what needs room, with the key that made it so large."""
        if what == STATE:
            model = self.config.model
            size = f"model.num_layers={model.num_layers}, model.hidden_size={model.hidden_size}"
            return f"{stage.name}: {what} ({size}, model.optim.name={model.optim.name})"
        if what == TASKS:
            return f"{stage.name}: {what}"
        batch = micro_batch(self.config, stage.name)
        tokens = f"{stage.micro_batch_size} x {stage.seq_length:,} tokens ({batch.key}={batch.value})"
        return f"{stage.name}: {what or ''}{' of ' if what else ''}{tokens}"


def _key(stage: Stage, what: str | None) -> tuple[str, int, int, str | None]:
    return stage.name, stage.micro_batch_size, stage.seq_length, what


def _is_of_the_machine(error: BaseException) -> bool:
    if isinstance(error, torch.OutOfMemoryError):
        return False
    return isinstance(error, (MemoryError, OSError)) or any(word in str(error) for word in OF_THE_MACHINE)


def _said(error: BaseException) -> str:
    return ". ".join(" ".join((str(error) or type(error).__name__).split()).split(". ")[:2])
