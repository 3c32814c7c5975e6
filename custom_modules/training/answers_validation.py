"""The validation of a run over samples: the loss over the answers of held-out ones, the same every time."""

from __future__ import annotations

import numpy as np

from custom_modules.config.sft import SftConfig
from custom_modules.data.conversations import Samples
from custom_modules.data.sample_batches import SampleLoader
from custom_modules.data.sample_steps import make_step
from custom_modules.errors import UserError
from custom_modules.training.engine import Engine
from custom_modules.training.validation import Evaluation


class AnswersValidation:
    """Evaluates on the first held-out samples, up to ``trainer.limit_val_tokens``, and one at least.

    They are taken in the order of their lengths, so that those of similar ones are padded together.

    Args:
        samples: that are held out.

    Raises:
        UserError: there is none.
    """

    def __init__(self, config: SftConfig, samples: Samples) -> None:
        if not len(samples):
            raise UserError(
                f"data.validation_fraction={config.data.validation_fraction}: no sample is held out; raise it, and "
                "prepare the data again"
            )
        self.samples = samples
        within = int(np.searchsorted(np.cumsum(samples.lengths), config.trainer.limit_val_tokens, side="right"))
        chosen = np.argsort(samples.lengths[: max(within, 1)], kind="stable")
        size = config.model.global_batch_size
        groups = [chosen[first : first + size] for first in range(0, len(chosen), size)]
        self.steps = [make_step(config, samples.lengths, [int(number) for number in group]) for group in groups]

    def evaluate(self, engine: Engine, loader: SampleLoader) -> Evaluation:
        """Evaluate. Collective.

        Raises:
            UserError: no token counts.
        """
        tokens, nats = 0, 0.0
        with loader.open(self.samples, self.steps) as batches:
            for step in self.steps:
                losses = engine.evaluate(batches, step, step.num_microbatches)
                tokens += sum(loss.tokens for loss in losses)
                nats += sum(loss.mean * loss.tokens for loss in losses)
        if not tokens:
            raise UserError(
                f"{self.samples.folder}: no token of the held-out samples is of an answer; look at the data"
            )
        return Evaluation(nats / tokens, tokens, bits_per_byte=None, sources=None, record=None)
