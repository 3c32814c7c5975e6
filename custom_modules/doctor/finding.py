"""What a check of `danube doctor` finds, and what the run in question needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from custom_modules.config.schema import Config


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    check: str
    found: str
    """What is there, as the check itself saw it."""
    state: Literal["ok", "missing", "wrong"] = "ok"
    remedy: str | None = None
    """What to install or change, where something is missing or wrong."""
    not_needed: str | None = None
    """Why the run does without it, such as ``on a CPU``; None if it needs it."""

    @property
    def stops(self) -> bool:
        """Whether the run cannot do with what was found."""
        return self.state != "ok" and self.not_needed is None


@dataclass(frozen=True)
class Needs:
    """What the checks judge by."""

    config: Config | None
    gpu: bool
    slurm: bool
    timeout: float
    """Seconds that a program or a folder has to answer."""

    @property
    def without_gpu(self) -> str | None:
        """Why nothing of a GPU is needed; None if it is."""
        return None if self.gpu else "on a CPU"

    @property
    def without_transformer_engine(self) -> str | None:
        """Why Transformer Engine is not needed; None if it is."""
        model = self.config.model if self.config else None
        if model and not model.fp8 and model.transformer_engine is not True:
            return "with model.fp8=null"
        return self.without_gpu

    @property
    def without_dali(self) -> str | None:
        """Why NVIDIA DALI is not needed; None if it is."""
        return None if self.config and self.config.data.loader == "dali" else "with data.loader=native"

    @property
    def without_tasks(self) -> str | None:
        """Why what scores tasks is not needed; None if it is."""
        return None if self.config and self.config.trainer.evaluate else "with trainer.evaluate=null"

    @property
    def several_nodes(self) -> bool:
        return self.config is not None and self.config.trainer.num_nodes > 1
