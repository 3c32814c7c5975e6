"""A chat model that answers questions, each by itself: the same answers whichever were given before."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from custom_modules.errors import UserError
from custom_modules.mt_bench.chat_model import ChatModel
from custom_modules.mt_bench.generation import REPETITION_PENALTY, TOP_K, Generation
from custom_modules.mt_bench.questions import Question


@dataclass(frozen=True)
class Answered:
    """A model's answers to both turns of a question.

    Attributes:
        texts: stripped, without control tokens.
        finish_reasons: as APIs call them: ``stop`` for one that ended by itself, ``length`` for one that was cut.
        tokens: generated, in both.
    """

    texts: tuple[str, str]
    finish_reasons: tuple[str, str]
    tokens: int


class Answerer:
    """A chat model with its weights, on a GPU where there is one.

    Raises:
        UserError: as `load_export`.
    """

    def __init__(self, model: ChatModel, generation: Generation) -> None:
        from custom_modules.conversion.local_model import load_export
        from custom_modules.platform import device_of_one

        self._folder, self._generation = model, generation
        self.device = device_of_one()
        self._tokenizer, self._model = load_export(model.path, self.device)
        self._context = getattr(self._model.config.get_text_config(), "max_position_embeddings", None)

    def answer(self, question: Question) -> Answered:
        """Answer both turns of a question, the second with the first in the conversation.

        Raises:
            UserError: a prompt leaves no room for an answer, or the chat template refuses it.
        """
        import torch

        torch.manual_seed(_seed(self._generation.seed, question.id))
        messages: list[dict[str, str]] = []
        texts, reasons, count = [], [], 0
        for turn in question.turns:
            messages.append({"role": "user", "content": turn})
            ids = self._continue(self._prompt(messages, question), question)
            ended = bool(ids) and ids[-1] in self._folder.eos_ids
            texts.append(str(self._tokenizer.decode(ids, skip_special_tokens=True)).strip())
            reasons.append("stop" if ended else "length")
            count += len(ids)
            messages.append({"role": "assistant", "content": texts[-1]})
        return Answered((texts[0], texts[1]), (reasons[0], reasons[1]), count)

    def _prompt(self, messages: list[dict[str, str]], question: Question) -> list[int]:
        from jinja2 import TemplateError

        try:
            encoded = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        except (TemplateError, ValueError) as error:
            raise UserError(f"{self._folder.path}: its chat template refuses question {question.id}: {error}") from None
        return list(encoded["input_ids"])

    def _continue(self, prompt: list[int], question: Question) -> list[int]:
        """Return the tokens that follow a prompt, the one that ends the answer among them."""
        import torch
        from transformers import GenerationConfig

        wanted = self._generation.max_new_tokens
        room = wanted if self._context is None else self._context - len(prompt)
        if room < 1:
            raise UserError(
                f"{self._folder.path}: question {question.id} leaves no room for an answer: its prompt has "
                f"{len(prompt):,} tokens, and the model reads {self._context:,}; give a smaller --max-new-tokens than "
                f"{wanted:,}, as the second prompt has the first answer in it"
            )
        temperature = self._generation.temperature(question.category)
        drawn = {"do_sample": True, "temperature": temperature, "top_k": TOP_K, "top_p": 1.0} if temperature else {}
        # In the model's own place, so that nothing of its generation_config.json is added to it.
        self._model.generation_config = GenerationConfig(
            max_new_tokens=min(wanted, room),
            repetition_penalty=REPETITION_PENALTY,
            eos_token_id=list(self._folder.eos_ids),
            pad_token_id=self._folder.eos_ids[0],
            **drawn,
        )
        ids = torch.tensor([prompt], device=self.device)
        with torch.no_grad():
            generated = self._model.generate(ids, attention_mask=torch.ones_like(ids))
        return [int(index) for index in generated[0, len(prompt) :]]


def _seed(seed: int, question_id: int) -> int:
    """Return the seed of a question: another for each, whichever were answered before."""
    return int.from_bytes(hashlib.sha256(f"{seed} {question_id}".encode()).digest()[:7], "big")
