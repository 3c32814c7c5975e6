"""Watches the steps of a stage for spikes: which updates are left out, and when the run cannot go on so."""

from __future__ import annotations

from collections.abc import Callable

import torch

from custom_modules.config.loss_spike import LossSpikeConfig
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.spike_window import SpikeWindow
from custom_modules.training.spikes import Judgement, SpikeDetector


class SpikeFound(Exception):
    """Raised behind a step at which a run cannot simply go on.

    Args:
        reason: which number is high, and above what.
        first_high_tokens: where the first high step began.
    """

    def __init__(self, reason: str, first_high_tokens: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.first_high_tokens = first_high_tokens


class SpikeWatch:
    """Judges the steps of one stage; the window it does it by is the progress's, so that every checkpoint has it.

    Args:
        progress: of the run; a window of another stage begins anew, as another mix has other losses.
        stage: its name.
        device: of this rank.
        say: says a line on rank 0.
    """

    def __init__(
        self, options: LossSpikeConfig, progress: Progress, stage: str, device: torch.device, say: Callable[[str], None]
    ) -> None:
        self.options = options
        self.progress = progress
        self.device = device
        self.say = say
        if progress.spike_window is None or progress.stage != stage or progress.is_stage_end:
            progress.spike_window = SpikeWindow()
        self.window = progress.spike_window
        self._detector = SpikeDetector(options, self.window)
        self._last = Judgement(False, False, "")

    @property
    def is_high(self) -> bool:
        """Whether the last step was high."""
        return self.window.high_steps > 0

    def leaves_out(self, loss: float, grad_norm: float) -> bool:
        """Judge the step that begins where the progress is, before its update is made. Collective.

        Returns:
            Whether its update is not to be made: it is high and those are skipped, or a spike, which the run goes back
            from or ends with.
        """
        told = torch.tensor([loss, grad_norm], dtype=torch.float64, device=self.device)
        torch.distributed.broadcast(told, src=0)  # ranks that would judge otherwise would wait for one another for ever
        loss, grad_norm = told.tolist()
        self._last = self._detector.judge(loss, grad_norm, self.progress.consumed_tokens)
        return self._last.is_high if self.options.on_spike == "skip" else self._last.is_spike

    def after_step(self) -> None:
        """Say what the last step was, once the progress has come to its end.

        Raises:
            SpikeFound: the run cannot simply go on.
        """
        if not self._last.is_high:
            return
        skips = self.options.on_spike == "skip"
        high = f"{self.window.high_steps} of {self.options.patience} high steps in a row"
        left_out = "; its update is left out" if skips else ""
        self.say(f"step {self.progress.step:,}: {self._last.reason}: {high}{left_out}")
        if self.window.high_steps >= self.options.patience or (self._last.is_spike and not skips):
            assert self.window.first_high_tokens is not None
            raise SpikeFound(self._last.reason, self.window.first_high_tokens)
