"""Texts drawn from a teacher, each from a seed of its own, whoever stands beside it in a batch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList

from data_prep.teach.teacher import Teacher
from data_prep.teach.windows import ROWS, STEP

_SCALE = 1 << 40
"""Probabilities are added up as whole numbers of 2^-40: the same on every device and in any order."""


@dataclass(frozen=True)
class Sampling:
    """How a next token is drawn.

    Attributes:
        temperature: of the distribution; 1: as the teacher has it.
        top_p: of the most probable tokens as many as have this share are drawn from; 1: all.
    """

    temperature: float
    top_p: float


@dataclass(frozen=True)
class Prompt:
    """What a teacher continues.

    Attributes:
        ids: its own tokens, the one that begins a document first.
        most: tokens to draw at most.
        seed: of the draws.
    """

    ids: Sequence[int]
    most: int
    seed: int


def drawable(teacher: Teacher, contents: Sequence[bytes]) -> NDArray[np.bool_]:
    """Tell for each of a teacher's logits whether its token may be drawn: text, or the end of a document.

    Args:
        contents: the bytes of each id of its tokenizer.
    """
    size = int(teacher.model.get_output_embeddings().weight.shape[0])
    allowed = np.zeros(size, bool)
    allowed[: len(contents)] = [bool(content) for content in contents]
    allowed[teacher.folder.tokenizer.eos_id] = True
    return allowed


def seed_of(text_hash: str, attempt: int) -> int:
    """Return the seed of a text: of its document's hash and of how often it was written before."""
    return int.from_bytes(hashlib.sha256(f"{text_hash} {attempt}".encode()).digest()[:16], "little")


def draw(
    teacher: Teacher,
    prompts: Sequence[Prompt],
    sampling: Sampling,
    allowed: NDArray[np.bool_],
    between: Callable[[], None],
) -> list[tuple[list[int], bool]]:
    """Have a teacher continue prompts.

    Args:
        allowed: see `drawable`.
        between: called before every token.

    Returns:
        For each the teacher's tokens, and whether it has ended the text itself; none for a prompt that leaves no room.
    """
    drawn: list[tuple[list[int], bool]] = [([], False)] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda number: (len(prompts[number].ids), prompts[number].most))
    for begin in range(0, len(order), ROWS):
        numbers = order[begin : begin + ROWS]
        some = [prompts[number] for number in numbers]
        drawer = _Drawn(some, sampling, torch.from_numpy(allowed).to(teacher.device))
        found = _batch(teacher, some, drawer, between)
        for number, one in zip(numbers, found, strict=True):
            drawn[number] = one
    return drawn


def _batch(
    teacher: Teacher, prompts: list[Prompt], drawer: _Drawn, between: Callable[[], None]
) -> list[tuple[list[int], bool]]:
    filled = _filled(prompts)
    longest = max(len(prompt.ids) for prompt in prompts)
    length = min(-(-longest // STEP) * STEP, max(longest, teacher.longest - 1))
    most = min(max(prompt.most for prompt in prompts), teacher.longest - length)
    if most < 1:
        return [([], False)] * len(prompts)
    eos_id = teacher.folder.tokenizer.eos_id
    ids, mask = np.full((ROWS, length), eos_id, np.int64), np.zeros((ROWS, length), np.int64)
    for row, prompt in enumerate(filled):
        ids[row, length - len(prompt.ids) :] = prompt.ids
        mask[row, length - len(prompt.ids) :] = 1
    config = GenerationConfig(max_new_tokens=most, do_sample=False, eos_token_id=eos_id, pad_token_id=eos_id)
    generated = teacher.model.generate(
        torch.from_numpy(ids).to(teacher.device),
        attention_mask=torch.from_numpy(mask).to(teacher.device),
        generation_config=config,
        logits_processor=LogitsProcessorList([drawer]),
        stopping_criteria=StoppingCriteriaList([_Between(between)]),
    )
    new = generated[:, length:].cpu().tolist()
    return [_cut(row, prompt.most, eos_id) for row, prompt in zip(new, prompts, strict=False)]


def _filled(prompts: Sequence[Prompt]) -> list[Prompt]:
    """Fill a batch up with its last prompt."""
    return [prompts[min(row, len(prompts) - 1)] for row in range(ROWS)]


def _cut(ids: list[int], most: int, eos_id: int) -> tuple[list[int], bool]:
    end = ids.index(eos_id) if eos_id in ids else len(ids)
    return ids[: min(end, most)], end < min(len(ids), most)


class _Drawn(LogitsProcessor):
    """Leaves the one token of each row that was drawn: transformers' greedy search takes it."""

    def __init__(self, prompts: Sequence[Prompt], sampling: Sampling, allowed: Tensor) -> None:
        self._sources = [np.random.Generator(np.random.Philox(key=prompt.seed)) for prompt in _filled(prompts)]
        self._sampling = sampling
        self._allowed = allowed

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        masked = scores.float().masked_fill(~self._allowed, -torch.inf)
        probabilities = torch.softmax(masked / self._sampling.temperature, dim=-1).double()
        whole = (probabilities * _SCALE).round().long()
        ordered, ids = whole.sort(dim=-1, descending=True, stable=True)
        sums = ordered.cumsum(dim=-1)
        nucleus = (sums[:, -1:].double() * self._sampling.top_p).round().long()
        total = torch.where(sums - ordered < nucleus, sums, 0).amax(dim=-1)
        draws = [int(source.integers(0, int(most))) for source, most in zip(self._sources, total.tolist(), strict=True)]
        chosen = torch.searchsorted(sums, torch.tensor(draws, device=sums.device)[:, None], right=True)
        kept = torch.full_like(scores, -torch.inf)
        return kept.scatter_(1, ids.gather(1, chosen), 0.0)


class _Between(StoppingCriteria):
    def __init__(self, between: Callable[[], None]) -> None:
        self._between = between

    def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
        self._between()
        return torch.zeros(len(input_ids), dtype=torch.bool, device=input_ids.device)
