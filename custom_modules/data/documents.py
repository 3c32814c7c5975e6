"""What the documents of a window have to do with each other: a micro-batch says where they begin.

A document begins behind an end token, and where a window does; its end is its last token.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.data.tokenizer_check import check_end_of_text

Batch = dict[str, Tensor]

CU_SEQLENS = "cu_seqlens"
"""In a micro-batch whose documents don't see each other: where each begins among its b x s tokens, row behind row, and
how many tokens these are, int32 ``[documents + 1]``. It stays on the host."""

RANDOM_END = 0
"""The end token of random windows: their documents have about as many tokens as there are in the vocabulary."""


@dataclass(frozen=True)
class Documents:
    """Gives micro-batches what follows from their documents."""

    eos_id: int
    separate: bool
    """They don't see each other."""
    restart: bool
    """Positions begin anew with each, where documents see each other: else nothing depends on it."""
    forget: bool
    """What follows an end token counts in no loss."""

    def add_to(self, batch: Batch) -> Batch:
        """Return a micro-batch with `CU_SEQLENS`, ``position_ids`` or ``loss_mask`` of its own.

        One with teachers' texts stays as it is: a row is one document from its beginning, and behind it what counts
        nowhere.

        Args:
            batch: with ``tokens`` and ``position_ids``, int64 ``[b, s]``, and a ``loss_mask``, fp32, where it has one.
        """
        if "alternative_tokens" in batch:
            return batch
        ends, added = batch["tokens"] == self.eos_id, {}
        if self.forget:
            counts = (~ends).float()
            added["loss_mask"] = batch["loss_mask"] * counts if "loss_mask" in batch else counts
        if self.separate:
            added[CU_SEQLENS] = _boundaries(ends)
        if self.restart:
            added["position_ids"] = _positions(ends)
        return {**batch, **added}

    def fields(self, fields: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of ``[b, s]`` that a micro-batch with some fields has in the end, position ids apart."""
        is_new = self.forget and "loss_mask" not in fields and "alternative_tokens" not in fields
        return (*fields, "loss_mask") if is_new else fields


def documents_of(config: Config, eos_id: int) -> Documents | None:
    """Return what the config asks for; None: nothing.

    Args:
        eos_id: of the prepared data.

    Raises:
        UserError: no token ends a document.
    """
    if not config.data.keys_of_documents:
        return None
    check_end_of_text(config, eos_id)
    return Documents(eos_id, config.separates_documents, config.restarts_positions, config.data.eod_mask_loss)


def random_documents(config: TrainingConfig) -> Documents | None:
    """Return what the config asks for of random windows; None: nothing, or it is of samples, which have a row each."""
    return documents_of(config, RANDOM_END) if isinstance(config, Config) else None


def _begins(ends: Tensor) -> Tensor:
    """Whether a document begins at each token, of whether one ends there; both bool ``[b, s]``."""
    begins = torch.ones_like(ends)
    begins[:, 1:] = ends[:, :-1]
    return begins


def _boundaries(ends: Tensor) -> Tensor:
    [starts] = _begins(ends).flatten().nonzero(as_tuple=True)
    return torch.cat([starts, torch.tensor([ends.numel()])]).to(torch.int32)


def _positions(ends: Tensor) -> Tensor:
    """Places in their documents, int64 ``[b, s]``."""
    places = torch.arange(ends.shape[1]).expand(ends.shape)
    return places - torch.where(_begins(ends), places, 0).cummax(dim=1).values
