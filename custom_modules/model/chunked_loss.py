"""The head and the cross-entropy over chunks of a micro-batch, so that only one chunk's logits exist at a time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from custom_modules.model.asked import Asked
from custom_modules.model.language_model import LanguageModel
from custom_modules.model.targets import Targets, in_chunks


class ChunkedLossModel(LanguageModel):
    """A ``LanguageModel`` that computes its loss ``chunk_size`` tokens at a time, forward and backward.

    Logits without labels are computed at once, as they are what is asked for. Parameters and their names are those of
    ``LanguageModel``.

    Args:
        chunk_size: tokens of a micro-batch; one that has no more is computed as ``LanguageModel`` does.
        arguments: of ``LanguageModel``.
    """

    def __init__(self, *, chunk_size: int, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.chunk_size = chunk_size

    def _postprocess(
        self, hidden_states: Tensor, *arguments: Any, labels: Tensor | Targets | Asked | None = None, **named: Any
    ) -> Tensor:
        """Cross-entropies as ``LanguageModel`` has them where ``labels`` are given; else what it returns.

        Args:
            hidden_states: ``[s, b, h]``, with sequence parallelism this rank's ``s / tp`` rows.
            labels: of ``[b, s]`` tokens.
        """
        if not self.post_process or labels is None or isinstance(labels, Asked):
            return super()._postprocess(hidden_states, *arguments, labels=labels, **named)
        tokens = labels.labels if isinstance(labels, Targets) else labels
        if tokens.numel() <= self.chunk_size:
            return super()._postprocess(hidden_states, *arguments, labels=labels, **named)
        batch, length = tokens.shape
        hidden = self._all_rows(hidden_states).flatten(0, 1).unsqueeze(1).split(self.chunk_size)
        targets = in_chunks(labels, self.chunk_size)
        # Non-reentrant: autograd sums the chunks' weight gradients before it accumulates them, once per backward pass,
        # as DDP's overlapped reduction counts on. Reentrant, every chunk would.
        losses = [
            checkpoint(self._chunk_loss, *chunk, use_reentrant=False, preserve_rng_state=False)
            for chunk in zip(hidden, targets, strict=True)
        ]
        of_all = torch.cat(losses, dim=1).squeeze(0)
        return of_all.unflatten(0, (length, batch)).transpose(0, 1).contiguous()

    def _chunk_loss(self, hidden_states: Tensor, labels: Tensor | Targets) -> Tensor:
        """``[1, t, ...]``, of ``[t, 1, h]`` hidden states of all tensor-parallel ranks' rows and ``[1, t]`` labels."""
        return self.compute_language_model_loss(labels, self._logits(hidden_states))
