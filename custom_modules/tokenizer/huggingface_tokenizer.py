"""A ``tokenizer.json`` of the `tokenizers` library, read without transformers."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, Unigram

from custom_modules.errors import UserError
from custom_modules.tokenizer.base import COMPANIONS, Tokenizer
from custom_modules.tokenizer.huggingface_vocabulary import read_tokens, why_not_comparable
from custom_modules.tokenizer.lost_text import fails, loses_text, lost_text, unknown_token
from custom_modules.tokenizer.other_files import what_else
from custom_modules.tokenizer.vocabulary import Token, roles

_NOT_THERE = "\uffff<not there>\uffff"
_BRACKETED = re.compile(r"<.+>|\[.+\]")
_AROUND = (("", ""), ("a", "a"), ("a ", " a"))


class HuggingFaceTokenizer(Tokenizer):
    """A ``tokenizer.json``; the files beside it say which token is eos.

    Tokens that it adds to its vocabulary as special are text when they appear in a text; others that it adds, such as
    runs of spaces, belong to the vocabulary. What its post-processor, truncation or padding would add is left out, and
    dropout is off: a text has one encoding. What its normalizer and pre-tokenizer take out of a text, such as accents
    or spaces, is not in the ids; a character that its model would leave out is an error.

    Raises:
        UserError: it cannot be read, nothing says which token is eos, or a special token's text becomes its id.
    """

    library = "huggingface"

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        try:
            self._content = json.loads(content)
            self._fast = RustTokenizer.from_str(content.decode())
            self._prepare_model()
        except Exception as error:
            advice = what_else(content) or "give a tokenizer.json or a folder with one"
            raise UserError(
                f"model.tokenizer.model={path}: the tokenizers library cannot read it "
                f"({' '.join(str(error).split())}); {advice}"
            ) from None
        self._added = self._fast.get_added_tokens_decoder()
        self._fast.encode_special_tokens = True
        self._fast.no_truncation()
        self._fast.no_padding()
        super().__init__(path, content, max(self._fast.get_vocab(with_added_tokens=True).values(), default=-1) + 1)
        self.loses_text = loses_text(self._content)
        self._companions = [path.with_name(name) for name in COMPANIONS if path.with_name(name).is_file()]
        self.bos_id = self._special("bos")
        self.unk_id = self._special("unk")
        if self.unk_id is None and (unknown := unknown_token(self._content)) is not None:
            self.unk_id = self._fast.token_to_id(unknown)
        eos_id = self._special("eos")
        if eos_id is None:
            raise UserError(
                f"model.tokenizer.model={path}: nothing says which token ends a document; put the model's "
                f"{COMPANIONS[0]} (or {' or '.join(COMPANIONS[1:])}) with its eos_token beside it"
            )
        self.eos_id = eos_id
        with suppress(UserError):
            self.pad_id = self._special("pad")
        self._check_special_tokens()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path, *self._companions)

    def can_encode(self, text: str) -> bool:
        return not self.loses_text or not fails(self._fast, text)

    def encode(self, text: str) -> list[int]:
        try:
            return self._fast.encode(text, add_special_tokens=False).ids
        except Exception:
            raise lost_text(self.path, self._fast, [text]) from None

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        try:
            encodings = self._fast.encode_batch_fast(list(texts), add_special_tokens=False)
        except Exception:
            raise lost_text(self.path, self._fast, texts) from None
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int]) -> str:
        return self._fast.decode(list(ids), skip_special_tokens=True)

    def token(self, index: int) -> str:
        # The library answers with the normalized form of an added token, "\u2581</s>", which is no token of its.
        added = self._added.get(index)
        return added.content if added else self._fast.id_to_token(index) or ""

    def tokens(self) -> list[Token]:
        content = json.loads(self._fast.to_str())
        if reason := why_not_comparable(content):
            raise self._not_comparable(reason)
        unknown = self.unk_id if self._unknown_is_said() else None
        named = roles(self.eos_id, self.bos_id, unknown, self._special("pad"))
        return read_tokens(content, self._fast.get_vocab(with_added_tokens=True), self.vocab_size, named)

    def control_tokens(self) -> dict[int, str]:
        special = {index for index, token in self._added.items() if token.special}
        special |= {index for index in (self.bos_id, self.eos_id) if index is not None}
        if self.pad_id is not None and not self._is_text(self.pad_id, self.token(self.pad_id)):
            special.add(self.pad_id)
        if self.unk_id is not None and (self._unknown_is_said() or _BRACKETED.fullmatch(self.token(self.unk_id))):
            special.add(self.unk_id)
        return {index: self.token(index) for index in sorted(special)}

    def to_json(self) -> dict[str, Any]:
        return {**self._content, "truncation": None, "padding": None, "post_processor": None}

    def _prepare_model(self) -> None:
        """Have a BPE encode without dropout, and refuse a character that it has no token for instead of leaving it out.

        The library does refuse one if the unknown token that the model names is not there.
        """
        if isinstance(self._fast.model, BPE):
            self._content["model"] = {**self._content["model"], "dropout": None}
            self._fast.model.dropout = None
            if loses_text(self._content):
                self._fast.model.unk_token = _NOT_THERE

    def _unknown_is_said(self) -> bool:
        """Whether more than the model calls its unknown token so: one that only the model has may be text too."""
        return self._special("unk") is not None or self.unk_id in self._added

    def _special(self, name: str) -> int | None:
        for path in self._companions:
            found = _read(path)
            token = found.get(f"{name}_token")
            token = token.get("content") if isinstance(token, dict) else token
            if isinstance(token, str):
                index = self._fast.token_to_id(token)
                if index is None:
                    raise UserError(
                        f"{path}: {name}_token={token} is no token of {self.path.name}; give the one it was made with"
                    )
                return index
            index = found.get(f"{name}_token_id")
            index = index[0] if isinstance(index, list) and index else index
            if isinstance(index, int):
                if not 0 <= index < self.vocab_size:
                    raise UserError(
                        f"{path}: {name}_token_id={index} is outside the {self.vocab_size} tokens of {self.path}"
                    )
                return index
        return None

    def _check_special_tokens(self) -> None:
        special = {
            index: token.content for index, token in self._added.items() if token.special and index != self.unk_id
        }
        for index in (self.bos_id, self.eos_id):
            if index is not None:
                special[index] = self.token(index)
        for index, text in special.items():
            if self._is_text(index, text):
                raise UserError(
                    f"model.tokenizer.model={self.path}: it turns {text} in a text into special token {index}; "
                    f"{self._remedy(index, text)}, or give another tokenizer"
                )

    def _is_text(self, index: int, text: str) -> bool:
        """Whether the text of a token, somewhere in a text, becomes that token."""
        return any(index in self._ids(f"{before}{text}{behind}") for before, behind in _AROUND)

    def _ids(self, text: str) -> list[int]:
        """The ids of a text, none if it cannot be encoded."""
        return self.encode(text) if self.can_encode(text) else []

    def _remedy(self, index: int, text: str) -> str:
        """What keeps a special token's text from becoming that token: its mark, unless the model itself makes it."""
        self._fast.add_special_tokens([text])
        if index not in self._ids(text):
            return "mark that token as special in its added_tokens"
        if isinstance(self._fast.model, Unigram):
            advice = "as its Unigram model finds every piece of its vocabulary in a text, give the SentencePiece model "
            return advice + "that it was made of (model.tokenizer.library=sentencepiece)"
        return "take it out of the vocabulary of its model"


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path}: not JSON ({error}); give the file that came with the tokenizer") from None
    return content if isinstance(content, dict) else {}
