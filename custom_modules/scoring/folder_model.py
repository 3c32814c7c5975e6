"""A model of transformers, on one device: log-probabilities without the logits of other positions, and texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.model.transformers_attention import SHARING, register_sharing
from custom_modules.scoring.batch import Batch
from custom_modules.scoring.prompts import PromptBatch
from custom_modules.scoring.shapes import CPU, CPU_SHARED, GPU, Shapes

_SHARING = ("mistral",)
"""Models whose attention is the library's, and whose tokens know of each other by nothing else."""
_TRIED = 8
"""Tokens on which the head alone is compared with the model."""


class FolderModel:
    """A causal language model of transformers.

    Args:
        model: in evaluation mode.
        device: where it is.
        max_length: tokens that it reads at most.
        eos_ids: what ends a generated text.
        decode: gives the text of some ids.
    """

    def __init__(
        self,
        model: Any,
        device: torch.device,
        max_length: int,
        eos_ids: Sequence[int],
        decode: Callable[[list[int]], str],
    ) -> None:
        self.max_length = max_length
        self.shapes = folder_shapes(device.type, max_length, model.config.model_type)
        self._model, self._device = model, device
        self._eos_ids, self._decode = tuple(eos_ids), decode
        if self.shapes.shares:
            register_sharing()
            model.set_attn_implementation(SHARING)
        self._head = self._plain_head()

    @torch.no_grad()
    def log_probabilities(self, batches: Sequence[Batch]) -> list[NDArray[np.float32]]:
        """Return what each batch asks, ``[n, k]``."""
        found = [self._one(batch) for batch in batches]
        return [output.cpu().numpy() for output in found]

    def _one(self, batch: Batch) -> Tensor:
        tokens, rows, positions, asked = (
            torch.from_numpy(part).to(self._device) for part in (batch.tokens, batch.rows, batch.positions, batch.asked)
        )
        head = self._head
        model = self._hidden if head else self._logits
        whole = model(tokens, **self._texts(batch))
        picked = whole[rows, positions].split(batch.at_once)
        wanted = asked.split(batch.at_once)
        logits = [head(some) if head else some for some in picked]
        return torch.cat([_log_probabilities(some, ids) for some, ids in zip(logits, wanted, strict=True)])

    def _texts(self, batch: Batch) -> dict[str, Any]:
        """Return what a model is told of the texts of a sequence; nothing where each has a row."""
        if batch.places is None:
            return {}
        # Of four dimensions: transformers makes none of its own then, and the attention looks at the segments alone.
        mask = torch.zeros(1, 1, 1, 1, dtype=torch.bool, device=self._device)
        position_ids = torch.from_numpy(batch.places)[None].to(self._device)
        return {"position_ids": position_ids, "attention_mask": mask, "segments": batch.segments}

    def _hidden(self, tokens: Tensor, **named: Any) -> Tensor:
        hidden: Tensor = self._model.base_model(input_ids=tokens, use_cache=False, **named)[0]
        return hidden

    def _logits(self, tokens: Tensor, **named: Any) -> Tensor:
        logits: Tensor = self._model(input_ids=tokens, use_cache=False, **named).logits
        return logits

    @torch.no_grad()
    def _plain_head(self) -> Callable[[Tensor], Tensor] | None:
        """Return the output layer where logits are its output and nothing else is done to them."""
        head = self._model.get_output_embeddings()
        if head is None or self._model.base_model is self._model:
            return None
        tokens = torch.arange(1, 1 + _TRIED, device=self._device)[None]
        logits = self._logits(tokens).float()
        alone = head(self._hidden(tokens)).float()
        is_same = logits.shape == alone.shape and torch.allclose(logits, alone, rtol=1e-2, atol=1e-2)
        return head if is_same else None

    @torch.no_grad()
    def generate(self, batch: PromptBatch) -> list[list[int]]:
        """Return the new tokens of each prompt, the likeliest each time, up to the one with which it ended."""
        from transformers import GenerationConfig, StoppingCriteriaList

        stops = _Stops(batch, self._eos_ids, self._decode)
        # In the model's own place, so that nothing of its generation_config.json is added to it.
        self._model.generation_config = GenerationConfig(
            max_new_tokens=batch.max_new_tokens,
            do_sample=False,
            eos_token_id=list(self._eos_ids),
            pad_token_id=self._eos_ids[0],
        )
        generated = self._model.generate(
            torch.from_numpy(batch.tokens).to(self._device),
            attention_mask=torch.from_numpy(batch.mask).to(self._device),
            stopping_criteria=StoppingCriteriaList([stops]),
        )
        new = generated[:, batch.tokens.shape[1] :].tolist()
        return [ids[: stops.lengths.get(place, len(ids))] for place, ids in enumerate(new[: len(batch.until)])]


def folder_shapes(kind: str, max_length: int, model_type: str) -> Shapes:
    """Return the shapes of passes on a kind of device.

    Args:
        model_type: as config.json has it.
    """
    if kind == "cuda":
        return replace(GPU, most=max_length)
    return CPU_SHARED if model_type in _SHARING else replace(CPU, most=max_length)


class _Stops:
    """Ends each prompt's text where one of its ends stands in it; rows that fill a pass up end at once."""

    def __init__(self, batch: PromptBatch, eos_ids: Sequence[int], decode: Callable[[list[int]], str]) -> None:
        self._until, self._decode, self._eos_ids = batch.until, decode, eos_ids
        self._begin = batch.tokens.shape[1]
        # As many tokens as the longest end can have, and some before them: a piece may begin before the end does.
        longest = max((len(end.encode()) for until in batch.until for end in until), default=0)
        self._looked_at = longest + 4
        self.lengths: dict[int, int] = {}
        """How many new tokens each text has that has ended, by its place."""

    def __call__(self, input_ids: Tensor, scores: Any, **named: Any) -> Tensor:
        new = input_ids[:, self._begin :].tolist()
        for place, until in enumerate(self._until):
            if place not in self.lengths and self._has_ended(new[place], until):
                self.lengths[place] = len(new[place])
        ended = [place >= len(self._until) or place in self.lengths for place in range(len(new))]
        return torch.tensor(ended, device=input_ids.device)

    def _has_ended(self, ids: list[int], until: tuple[str, ...]) -> bool:
        if ids[-1] in self._eos_ids:
            return True
        text = self._decode(ids[-self._looked_at :])
        return any(end and end in text for end in until)


def _log_probabilities(logits: Tensor, ids: Tensor) -> Tensor:
    """fp32 ``[n, k]`` of ``[n, v]`` logits: the softmax is computed in fp32, whatever dtype the model has."""
    logits = logits.float()
    return logits.gather(-1, ids) - logits.logsumexp(-1, keepdim=True)
