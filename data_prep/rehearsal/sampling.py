"""Texts drawn from a small causal language model, with the log-probabilities of their tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from data_prep.teach.drawn import drawable
from data_prep.teach.teacher import Teacher
from data_prep.teach.vocabulary import ByteVocabulary

_AT_ONCE = 64


@dataclass(frozen=True)
class SampledToken:
    """A token that was drawn, and what else could have been.

    Attributes:
        content: its bytes; none of the end of the text.
        log_probability: in nats.
        others: the most probable tokens there, by their bytes, with their log-probabilities; the highest first.
    """

    content: bytes
    log_probability: float
    others: list[tuple[bytes, float]]


@dataclass(frozen=True)
class Continuation:
    """What was drawn behind a prompt.

    Attributes:
        tokens: in their order, the end of the text not among them.
        ended: whether the model ended it.
    """

    tokens: list[SampledToken]
    ended: bool

    @property
    def text(self) -> str:
        """Return its text; half a character at its end is left out."""
        return b"".join(token.content for token in self.tokens).decode(errors="ignore")


class Sampler:
    """Draws from a model at temperature 1, so that the log-probabilities are those of the drawing.

    Only tokens that stand for bytes are drawn, and the end of a document.

    Args:
        teacher: the model.
        seed: of all that is drawn.
        top: how many alternatives each token comes with.
    """

    def __init__(self, teacher: Teacher, seed: int, top: int = 0) -> None:
        self._model = teacher.model
        self._device = teacher.device
        self._first_id = teacher.folder.first_id
        self._vocabulary = ByteVocabulary(teacher.folder.tokenizer)
        self._allowed = torch.from_numpy(drawable(teacher, self._vocabulary.contents)).to(teacher.device)
        self._seed = seed
        self._top = top

    def continue_texts(self, prompts: Sequence[str], max_tokens: int) -> Iterator[Continuation]:
        """Yield a continuation of each prompt, in their order; the same for the same prompts and seed.

        Args:
            prompts: an empty one begins a document.
            max_tokens: of a continuation.
        """
        for begin in range(0, len(prompts), _AT_ONCE):
            yield from self._continue(prompts[begin : begin + _AT_ONCE], max_tokens, self._seed + begin)

    @torch.inference_mode()
    def _continue(self, prompts: Sequence[str], max_tokens: int, seed: int) -> list[Continuation]:
        tokenizer = self._vocabulary.tokenizer
        encoded = [[self._first_id, *(tokenizer.encode(prompt) if prompt else [])] for prompt in prompts]
        longest = max(map(len, encoded))
        ids = torch.tensor([[self._first_id] * (longest - len(each)) + each for each in encoded], device=self._device)
        mask = torch.tensor([[0] * (longest - len(each)) + [1] * len(each) for each in encoded], device=self._device)
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            drawn: Any = self._model.generate(
                ids,
                attention_mask=mask,
                do_sample=True,
                temperature=1.0,
                top_k=0,
                top_p=1.0,
                max_new_tokens=max_tokens,
                eos_token_id=tokenizer.eos_id,
                pad_token_id=tokenizer.eos_id,
                return_dict_in_generate=True,
                output_logits=True,
                suppress_tokens=(~self._allowed).nonzero().flatten().tolist() or None,
            )
        logits = torch.stack(drawn.logits, dim=1).float().masked_fill(~self._allowed, -torch.inf)
        scores = logits.log_softmax(dim=-1)
        return list(map(self._continuation, drawn.sequences[:, longest:], scores))

    def _continuation(self, ids: Tensor, scores: Tensor) -> Continuation:
        """Read what was drawn: ids [tokens], log-probabilities [tokens, vocabulary]."""
        eos_id = self._vocabulary.tokenizer.eos_id
        contents = self._vocabulary.contents
        tokens: list[SampledToken] = []
        for place, index in enumerate(ids.tolist()):
            if index == eos_id:
                return Continuation(tokens, ended=True)
            best = scores[place].topk(self._top)
            others = [
                (contents[other], value)
                for other, value in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                if contents[other]
            ]
            tokens.append(SampledToken(contents[index], float(scores[place, index]), others))
        return Continuation(tokens, ended=False)
