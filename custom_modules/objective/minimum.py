"""Distillation: of the cross-entropies with the ground truth and with teachers, the smallest is trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from custom_modules.config.distillation import DistillationConfig
from custom_modules.objective.logged import logged_sums
from custom_modules.objective.next_token import NextToken

if TYPE_CHECKING:
    from torch import Tensor

CHOSEN = "chosen"
"""In a batch: the number of each sequence's smallest target, int64 ``[b]``, where it was found before."""
GROUND_TRUTH = "ground_truth"
"""In a batch: the sum of the ground truth's losses over this rank's tokens of each sequence, and how many these are,
fp32 ``[b, 2]``, found before likewise."""


class MinimumOverTargets:
    """Sums, of a distilled batch, the losses with the target whose mean is smallest; of another all `NextToken` does.

    Targets are numbered: the ground truth, then the teachers with distributions, then those with texts. The minimum is
    taken over each sequence's mean, or over each token. The gradient goes through the smallest alone.
    """

    from_logits = False

    def __init__(self, plain: NextToken, distillation: DistillationConfig) -> None:
        self.plain = plain
        self.over = distillation.minimum_over
        self.targets = 1 + len(distillation.teachers)
        self.has_texts = bool(distillation.texts)

    def __call__(self, output: Tensor, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | int, Tensor]:
        """Collective over the context-parallel ranks.

        Args:
            output: token losses in fp32 nats: ``[b, s]``, or ``[b, s, 1 + T]`` where the batch has T teachers' rows,
                the first with its labels.
            batch: of a distilled one ``teacher_ids``, or `CHOSEN` and `GROUND_TRUTH`; a ``loss_mask`` where not all
                tokens count.

        Returns:
            The sum, how many tokens are in it, and what is logged: see `logged_sums`.
        """
        import torch

        if CHOSEN not in batch and "teacher_ids" not in batch:
            loss, tokens = self.plain(output, batch)
            return loss, tokens, logged_sums(loss, tokens, self.targets)
        losses = output.unsqueeze(-1) if output.dim() == 2 else output
        mask = _mask(losses, batch)
        if CHOSEN in batch:
            chosen = batch[CHOSEN]
            # Of another text it is the first: its labels are the batch's.
            columns = torch.where(chosen < losses.shape[-1], chosen, 0).unsqueeze(-1).expand(mask.shape)
            wins, ground_truth = self._count(chosen), batch[GROUND_TRUTH].sum(dim=0)
        else:
            ground_truth = torch.stack([(losses[..., 0].detach() * mask).sum(), mask.sum()])
            if self.over == "token":
                columns = losses.detach().argmin(dim=-1)
                wins = self._count(columns, mask)
            else:
                chosen = smallest(over_context(self.score(losses, batch)))
                columns, wins = chosen.unsqueeze(-1).expand(mask.shape), self._count(chosen)
        loss = (losses.gather(-1, columns.unsqueeze(-1)).squeeze(-1) * mask).sum()
        tokens = mask.sum()
        logged = logged_sums(ground_truth[0], ground_truth[1], self.targets, loss, tokens, wins)
        return loss, tokens.to(torch.int32), logged

    def _count(self, chosen: Tensor, weights: Tensor | None = None) -> Tensor:
        """How often each target was chosen, fp32 ``[targets]``."""
        import torch

        is_target = chosen.flatten() == torch.arange(self.targets, device=chosen.device).unsqueeze(-1)
        return is_target.float().sum(dim=1) if weights is None else is_target.float() @ weights.flatten()

    def score(self, output: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """Return fp32 ``[targets, b, 3]`` of each sequence: the sum of the target's losses over this rank's tokens, how
        many these are, and of how many of them the target says something.

        Args:
            output: ``[b, s]`` or ``[b, s, targets]`` token losses.
        """
        import torch

        from custom_modules.model.targets import says_something

        losses = (output.unsqueeze(-1) if output.dim() == 2 else output).detach()
        mask = _mask(losses, batch)
        sums = (losses * mask.unsqueeze(-1)).sum(dim=1).t()
        counts = said = mask.sum(dim=1).expand_as(sums)
        if losses.shape[-1] > 1:
            of_teachers = (says_something(batch["teacher_probabilities"]) * mask.unsqueeze(-1)).sum(dim=1).t()
            said = torch.cat([counts[:1], of_teachers])
        return torch.stack([sums, counts, said], dim=-1)


def over_context(scores: Tensor) -> Tensor:
    """Add up what the ranks that share each sequence have found, in place. Collective."""
    import torch
    from megatron.core import parallel_state

    torch.distributed.all_reduce(scores, group=parallel_state.get_context_parallel_group())
    return scores


def smallest(scores: Tensor) -> Tensor:
    """Return the number of each sequence's target of the smallest mean, int64 ``[b]``, of whole sequences' scores.

    It is the first of several, none that says nothing but the ground truth, and one that is not a number before all
    others, so that it is seen.
    """
    import torch

    sums, counts, said = scores.unbind(dim=-1)
    return torch.where(said > 0, sums / counts, torch.inf).argmin(dim=0)


def _mask(losses: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
    """``[b, s]`` fp32: 1 for each token that counts."""
    import torch

    mask = batch.get("loss_mask")
    return torch.ones_like(losses[..., 0]) if mask is None else mask.float()
