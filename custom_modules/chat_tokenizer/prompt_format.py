"""Conversations to token ids, in training as they are at inference: the report's section 6 and its published models."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import orjson
from tokenizers import Tokenizer as RustTokenizer

from custom_modules.chat_tokenizer.template import ANSWER, PROMPT, make_template, why_not_escaped
from custom_modules.chat_tokenizer.tokenizer_json import is_isolated, isolate_markers, why_not_isolated
from custom_modules.errors import UserError
from custom_modules.files import readable
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.exported import config_json, with_control_tokens
from custom_modules.tokenizer.load import FILES

Json = dict[str, Any]
Message = Mapping[str, str]

TEMPLATE = make_template("</s>", ("<unk>", "<s>", "</s>"))
"""The template of Danube's vocabularies."""
TOKENIZER, CONFIG, CHAT_TEMPLATE = FILES["huggingface"], "tokenizer_config.json", "chat_template.jinja"
"""The files of a folder, as transformers names them."""
BASE = "base_tokenizer_sha256"
"""The key of the tokenizer_config.json that says of which tokenizer a folder was made."""
ROLES = ("user", "assistant")
_LONE = re.compile("[\ud800-\udfff]")
_SPECIAL = ("bos_token", "eos_token", "unk_token", "pad_token")


class Encoded(NamedTuple):
    """A conversation in tokens.

    Attributes:
        ids: of all turns.
        answers: by token, whether it is trained on: it is of an answer, or the eos that ends one.
    """

    ids: list[int]
    answers: list[bool]


class ChatTokenizer:
    """A tokenizer with the prompt format. The ids of a prompt are a prefix of those of the prompt and its answer.

    Attributes:
        eos_id: ends each turn; no content gives it.
        pad_id: fills batches.
        vocab_size: one more than the largest id.
        base_sha256: of the file of the tokenizer that it was made of.
    """

    def __init__(self, content: Json, config: Json, model: Path | None = None) -> None:
        self._content = content
        self._config = config
        self._model = model
        self._tokenizer = RustTokenizer.from_buffer(orjson.dumps(content))
        self.base_sha256: str = config[BASE]
        self.eos_id = self._id_of(config["eos_token"])
        self.pad_id = self._id_of(config["pad_token"])
        self.vocab_size = max(self._tokenizer.get_vocab(with_added_tokens=True).values()) + 1
        self._answer_begins = self._ids(config["eos_token"] + ANSWER)[1:]

    def _id_of(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        assert found is not None, f"{token}: not in the vocabulary that it was written with"
        return found

    @classmethod
    def from_file(cls, library: str, path: Path) -> ChatTokenizer:
        """Make one of the tokenizer that a model was pre-trained with.

        Args:
            library: ``sentencepiece`` or ``huggingface``.
            path: its file, or a folder that has it under its usual name.

        Raises:
            UserError: it cannot be read; or no ``tokenizer.json`` encodes every text as it does, and keeps the turns'
                markers apart.
        """
        base = load_tokenizer(library, path)
        if reason := _why_not(base):
            raise UserError(
                f"model.tokenizer.model={base.path}: no tokenizer.json holds conversations as it does: {reason}; give "
                "a byte-level BPE, or a SentencePiece BPE model as `danube prepare` trains it"
            )
        content = isolate_markers(with_control_tokens(base.to_json(), base.control_tokens()))
        config = {**config_json(base), BASE: base.sha256}
        tokenizer = cls(content, config, base.path if library == "sentencepiece" else None)
        tokenizer._check(base)
        return tokenizer

    @classmethod
    def load(cls, folder: Path) -> ChatTokenizer:
        """Read what `save` wrote.

        Raises:
            UserError: the folder has no chat template, or another one than its control tokens ask for; or a file of
                it is damaged.
        """
        content, config = _read(folder / TOKENIZER), _read(folder / CONFIG)
        missing = [key for key in (BASE, "eos_token", "pad_token") if not isinstance(config.get(key), str)]
        if missing or not is_isolated(content):
            raise UserError(
                f"{folder}: {', '.join(missing) or CHAT_TEMPLATE} is not as `danube prepare` of "
                "conversations writes it; give the tokenizer of a chat model of Danube's"
            )
        model = folder / FILES["sentencepiece"]
        tokenizer = cls(content, config, model if model.is_file() else None)
        with readable(folder / CHAT_TEMPLATE):
            written = (folder / CHAT_TEMPLATE).read_bytes() if (folder / CHAT_TEMPLATE).is_file() else b""
        if written.decode(errors="replace").strip() != tokenizer.template.strip():
            raise UserError(f"{folder / CHAT_TEMPLATE}: not Danube's prompt format; give a chat model of Danube's")
        return tokenizer

    @cached_property
    def template(self) -> str:
        """The Jinja template, of this vocabulary's control tokens."""
        names = [token["content"] for token in self._content["added_tokens"] if token["special"]]
        return make_template(self._config["eos_token"], names)

    @cached_property
    def sha256(self) -> str:
        """The hash of what `save` writes, whatever length of a sequence it says."""
        special = [self._config.get(name) for name in _SPECIAL]
        whole = orjson.dumps([self._content, special, self.template], option=orjson.OPT_SORT_KEYS)
        return hashlib.sha256(whole).hexdigest()

    @cached_property
    def _template(self) -> jinja2.Template:
        environment = jinja2.Environment()
        environment.globals["raise_exception"] = _refuse
        return environment.from_string(self.template)

    def render(self, messages: Sequence[Message], begins_answer: bool = False) -> str:
        """Write a conversation as text.

        Args:
            messages: with ``role`` and ``content``; user and assistant in turn.
            begins_answer: end with the marker of an answer.

        Raises:
            UserError: a role is out of turn, or a content is no text; names the message.
        """
        for number, message in enumerate(messages):
            if message["role"] != ROLES[number % 2]:
                raise UserError(
                    f"message {number + 1}: role={message['role']}, but user and assistant are to take turns, and "
                    f"this is the {ROLES[number % 2]}'s; there is no system role"
                )
            if not isinstance(message["content"], str):
                raise UserError(f"message {number + 1}: content={message['content']!r}; give a text")
            if not message["content"].isascii() and _LONE.search(message["content"]):
                raise UserError(
                    f"message {number + 1}: content={message['content'][:60]!r} has a lone surrogate, which no UTF-8 "
                    "has; take it out"
                )
        return self._template.render(messages=messages, add_generation_prompt=begins_answer)

    def encode(self, messages: Sequence[Message]) -> Encoded:
        """Encode a conversation; raises what `render` does."""
        ids = self._ids(self.render(messages))
        answers = [False] * len(ids)
        begin, turn = 0, 0
        for end, index in enumerate(ids):
            if index == self.eos_id:
                if turn % 2:
                    first = begin + len(self._answer_begins)
                    answers[first : end + 1] = [True] * (end + 1 - first)
                begin, turn = end + 1, turn + 1
        assert turn == len(messages), f"{turn} turns of {len(messages)} messages"
        return Encoded(ids, answers)

    def encode_prompt(self, messages: Sequence[Message]) -> list[int]:
        """Encode what a model answers to, with the marker that its answer begins with; raises what `render` does."""
        return self._ids(self.render(messages, begins_answer=True))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without control tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)

    def save(self, folder: Path, max_length: int | None = None) -> None:
        """Write the files that `load` and transformers' AutoTokenizer read into an existing folder.

        Args:
            max_length: of a sequence, in tokens; for ``model_max_length``.
        """
        length = {} if max_length is None else {"model_max_length": max_length}
        for name, content in ((TOKENIZER, self._content), (CONFIG, {**self._config, **length})):
            (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=2), encoding="utf-8")
        (folder / CHAT_TEMPLATE).write_text(self.template, encoding="utf-8")
        if self._model is not None:
            shutil.copyfile(self._model, folder / FILES["sentencepiece"])

    def _ids(self, text: str) -> list[int]:
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def _check(self, base: Tokenizer) -> None:
        """Prove on hostile conversations that the cut holds, and on the markers that their ids are the base's."""
        for marker in (PROMPT, ANSWER):
            if self._ids(marker) != base.encode(marker):
                raise UserError(
                    f"model.tokenizer.model={base.path}: {marker} is not the same tokens when it is cut "
                    "off; give another tokenizer"
                )
        for messages in _hostile(base):
            whole, turns = self.encode(messages).ids, [*range(0, len(messages), 2)]
            for prompt in (self.encode_prompt(messages[: turn + 1]) for turn in turns):
                if whole[: len(prompt)] != prompt:
                    raise UserError(
                        f"model.tokenizer.model={base.path}: the tokens of a prompt are not those that prompt and "
                        f"answer begin with, for the answer {messages[-1]['content']!r}; give another tokenizer"
                    )


def is_chat_folder(folder: Path) -> bool:
    """Tell whether `ChatTokenizer.save` wrote a folder's tokenizer; another program's may have a template as well."""
    try:
        return BASE in json.loads((folder / CONFIG).read_bytes())
    except (OSError, ValueError, TypeError):
        return False


def _why_not(base: Tokenizer) -> str | None:
    if base.not_as_json:
        return base.not_as_json
    if base.loses_text:
        return "it has no token for some characters, and no unknown token"
    for name in base.control_tokens().values():
        if reason := why_not_escaped(name):
            return f"its control token {name} cannot be kept text in a message, as {reason}"
    return why_not_isolated(base.to_json())


def _hostile(base: Tokenizer) -> Iterator[list[dict[str, str]]]:
    """Yield conversations of two turns whose contents begin as pieces do that could reach across a marker's end."""
    begins = ("", ">", ">>", '"', "(", "=", "<", "/", "|>", "\n", " ", "\u2581", "\x00", "\U0001f600", "a", "1")
    for text in (*begins, *base.control_tokens().values(), PROMPT, ANSWER):
        turn = [{"role": "user", "content": f"{text}a"}, {"role": "assistant", "content": f"{text}{text}"}]
        yield turn * 2


def _read(path: Path) -> Json:
    with readable(path):
        try:
            content = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise UserError(f"{path}: missing; give the whole folder of a chat model's tokenizer") from None
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}); give the folder as it was written") from None
    return content if isinstance(content, dict) else {}


def _refuse(message: str) -> None:
    raise UserError(message)
