"""The loss and the preferences over held-out pairs: each counts once, on any number of processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor

from custom_modules.dpo.pairs import Pairs

if TYPE_CHECKING:
    from custom_modules.dpo.trainer import PairTrainer


@dataclass(frozen=True)
class Evaluation:
    """What was found over all held-out pairs.

    Attributes:
        loss: the mean of the sigmoid loss, in nats a pair.
        preferences: the means of `custom_modules.run_folder.metrics.PREFERENCES`.
        pairs: how many there are.
    """

    loss: float
    preferences: dict[str, float]
    pairs: int


@torch.no_grad()
def evaluate(trainer: PairTrainer, pairs: Pairs, at_a_time: int) -> Evaluation:
    """Evaluate the model as it is, without dropout. Collective; no random number is drawn.

    Args:
        pairs: at least one.
        at_a_time: pairs of a forward pass.
    """
    model, beta = trainer.model, trainer.beta
    was_training = model.training
    model.eval()
    device = trainer.accelerator.device
    sums = torch.zeros(7, dtype=torch.float64)
    for inputs in _batches(trainer, pairs, at_a_time):
        with trainer.accelerator.autocast():
            policy = _log_probabilities(model, inputs)
        reference = torch.cat(trainer.compute_ref_log_probs(model, inputs))
        chosen, rejected = (beta * (policy - reference).float()).chunk(2)
        margins = chosen - rejected
        per_pair = (-F.logsigmoid(margins), margins > 0, margins, chosen, rejected, *policy.float().chunk(2))
        sums += torch.stack([column.double().sum() for column in per_pair]).cpu()
    if torch.distributed.get_world_size() > 1:
        total = sums.to(device)
        torch.distributed.all_reduce(total)
        sums = total.cpu()
    if was_training:
        model.train()
    loss, accuracy, margin, *others = (sums / len(pairs)).tolist()
    names = ("reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected")
    others_by_name = dict(zip(names, others, strict=True))
    return Evaluation(loss, {"accuracy": accuracy, "margin": margin, **others_by_name}, len(pairs))


def _batches(trainer: PairTrainer, pairs: Pairs, at_a_time: int) -> Iterator[dict[str, Any]]:
    """Yield this process's share: as many pairs as the others have, or one less."""
    own = range(trainer.accelerator.process_index, len(pairs), trainer.accelerator.num_processes)
    for first in range(0, len(own), at_a_time):
        examples = [pairs.example(number) for number in own[first : first + at_a_time]]
        batch = trainer.data_collator(examples)
        yield {name: tensor.to(trainer.accelerator.device) for name, tensor in batch.items()}


def _log_probabilities(model: torch.nn.Module, inputs: dict[str, Any]) -> Tensor:
    """Return the log-probability of each answer, ``[2 * pairs]``: the chosen ones, then the rejected."""
    labels = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    shown = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    found: Tensor = model(**shown, labels=labels, use_cache=False, fused_lm_head=True).log_probs
    return found.sum(dim=1)
