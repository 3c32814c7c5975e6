"""An exported chat model that answers, by transformers alone."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custom_modules.chat.stream import TextStream
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.chat.session import Message

MAX_NEW_TOKENS = 1024
"""Of an answer, where nothing says how long it may be; but at most half of the context."""


class ChatModel:
    """An exported model with a chat template, on a GPU where there is one.

    Args:
        folder: what `to_hf` wrote of a run on conversations; another chat model's does too.

    Raises:
        UserError: it has no chat template, or transformers cannot load it.
    """

    def __init__(self, folder: Path) -> None:
        check_folder(folder)
        from custom_modules.conversion.local_model import load_export
        from custom_modules.platform import device_of_one

        self.device = device_of_one()
        self._tokenizer, self._model = load_export(folder, self.device)
        # A prompt that is too long is the conversation's to refuse or to cut; transformers would only warn.
        self._tokenizer.model_max_length = sys.maxsize
        defaults = self._model.generation_config
        self.context: int | None = getattr(self._model.config, "max_position_embeddings", None)
        half = MAX_NEW_TOKENS if self.context is None else max(1, self.context // 2)
        self.max_new_tokens: int = defaults.max_new_tokens or min(MAX_NEW_TOKENS, half)
        if defaults.eos_token_id is None:
            defaults.eos_token_id = self._tokenizer.eos_token_id
        if defaults.pad_token_id is None:
            defaults.pad_token_id = self._tokenizer.pad_token_id or self._tokenizer.eos_token_id

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Give the tokens of a prompt, by the folder's own template.

        Raises:
            UserError: the text is none that can be encoded, or the template refuses the conversation.
        """
        from jinja2 import TemplateError

        try:
            for message in messages:
                message["content"].encode()
            return list(
                self._tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, return_dict=False)
            )
        except UnicodeEncodeError:
            raise UserError("the message has bytes that are no text; give it in UTF-8") from None
        except TemplateError as error:
            raise UserError(f"the model's chat template refuses the conversation: {error}") from None

    def answer(
        self,
        ids: Sequence[int],
        sampling: Mapping[str, Any],
        write: Callable[[str], None],
        stopped: Callable[[], bool] = lambda: False,
    ) -> tuple[str, bool]:
        """Answer a prompt.

        Args:
            ids: of the prompt.
            sampling: what of `generate`'s arguments differs from generation_config.json.
            write: called with the text as it comes.
            stopped: asked at each token whether to end there.

        Returns:
            The answer, as far as it came; and whether it was cut off as it had ``max_new_tokens``.
        """
        import torch

        stream = _Written(TextStream(self._decode), write)
        prompt = torch.tensor([list(ids)], device=self.device)
        with torch.no_grad():
            [generated] = self._model.generate(
                prompt,
                attention_mask=torch.ones_like(prompt),
                streamer=stream,
                stopping_criteria=[
                    lambda found, scores, **_: torch.full((len(found),), stopped(), device=found.device)
                ],
                **{"max_new_tokens": self.max_new_tokens, **sampling},
            )
        stream.finish()
        limit = sampling.get("max_new_tokens", self.max_new_tokens)
        return stream.text, not stopped() and len(generated) - len(ids) == limit and not self._is_end(generated[-1])

    def ends(self, prompts: Sequence[Sequence[int]], max_new_tokens: int) -> list[bool]:
        """Answer prompts together, with the likeliest tokens; tell of each whether its answer ended by itself.

        Args:
            prompts: ids, at least one of each.
            max_new_tokens: an answer without an end after so many has none.
        """
        import torch

        longest = max(map(len, prompts))
        missing = [longest - len(prompt) for prompt in prompts]
        # What fills up a prompt is hidden from attention, but not from the penalty of repetition: it is of the prompt.
        ids = [[prompt[0]] * count + list(prompt) for count, prompt in zip(missing, prompts, strict=True)]
        shown = [[0] * count + [1] * (longest - count) for count in missing]
        with torch.no_grad():
            generated = self._model.generate(
                torch.tensor(ids, device=self.device),
                attention_mask=torch.tensor(shown, device=self.device),
                do_sample=False,
                max_new_tokens=max_new_tokens,
            )
        return [any(map(self._is_end, row[longest:])) for row in generated.tolist()]

    def _decode(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _is_end(self, index: Any) -> bool:
        ends = self._model.generation_config.eos_token_id
        return int(index) in (ends if isinstance(ends, list) else [ends])


class _Written:
    """What `generate` gives its tokens to: the prompt's all at once, then one at a time."""

    def __init__(self, stream: TextStream, write: Callable[[str], None]) -> None:
        self._stream = stream
        self._write = write
        self._is_prompt = True
        self.text = ""

    def put(self, ids: Any) -> None:
        if self._is_prompt:
            self._is_prompt = False
            return
        for index in ids.flatten().tolist():
            self._add(self._stream.add(index))

    def end(self) -> None:
        """Nothing more comes; `finish` is called once it is known that nothing failed."""

    def finish(self) -> None:
        self._add(self._stream.finish())

    def _add(self, text: str) -> None:
        if text:
            self.text += text
            self._write(text)


def check_folder(folder: Path) -> None:
    """Make sure, in no time, that a folder may be a chat model's.

    Raises:
        UserError: it is no Hugging Face folder, or has no chat template.
    """
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder}: not a Hugging Face folder; give what `danube convert to-hf` wrote of a chat model")
    if (folder / "chat_template.jinja").is_file():
        return
    try:
        config = json.loads((folder / "tokenizer_config.json").read_bytes())
    except (OSError, ValueError):
        config = {}
    if not isinstance(config, dict) or not config.get("chat_template"):
        raise UserError(
            f"{folder}: no chat template, as of a model that only continues texts (`danube sample` shows that); give "
            "the export of one that `danube sft` or `danube dpo` has trained"
        )
