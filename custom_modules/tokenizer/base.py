"""What every tokenizer here offers."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal

import orjson
from tokenizers import Tokenizer as RustTokenizer

from custom_modules.errors import UserError
from custom_modules.tokenizer.vocabulary import Token

COMPANIONS = ("tokenizer_config.json", "special_tokens_map.json", "generation_config.json")
"""The files beside a ``tokenizer.json`` that can say which token is eos, in the order they are asked."""


class Tokenizer(ABC):
    """Text to ids and back. No bos or eos is ever added, and what looks like a special token in a text is text.

    Attributes:
        library: as in ``model.tokenizer.library``.
        path: the file it was read from.
        sha256: of that file.
        vocab_size: one more than the largest id.
        bos_id, eos_id, unk_id: ids of the special tokens. ``eos_id`` ends a document.
        pad_id: the token that it names for padding, which no document has.
        loses_text: whether there is text that it cannot encode: `encode` and `encode_batch` raise a
            `custom_modules.tokenizer.lost_text.LostTextError` for it.
    """

    library: ClassVar[Literal["sentencepiece", "huggingface"]]

    def __init__(self, path: Path, content: bytes, vocab_size: int) -> None:
        self.path = path
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.vocab_size = vocab_size
        self.bos_id: int | None = None
        self.eos_id: int = -1
        self.unk_id: int | None = None
        self.pad_id: int | None = None
        self.loses_text = False

    @property
    def files(self) -> tuple[Path, ...]:
        """All that is needed to load it again: ``path``, and the files beside it that were read too."""
        return (self.path,)

    @property
    def not_as_json(self) -> str | None:
        """Why no ``tokenizer.json`` encodes every text as this one does; None if one does."""
        return None

    def can_encode(self, text: str) -> bool:
        """Whether none of a text would be lost."""
        return True

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of one text."""

    @abstractmethod
    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of each text, in this thread."""

    @abstractmethod
    def decode(self, ids: Sequence[int]) -> str:
        """The text of some ids, without special tokens."""

    @abstractmethod
    def token(self, index: int) -> str:
        """How the vocabulary writes an id."""

    @abstractmethod
    def tokens(self) -> list[Token]:
        """What each id stands for, to compare vocabularies; ``vocab_size`` of them.

        Raises:
            UserError: the tokenizer is of a kind that does not tell.
        """

    @abstractmethod
    def control_tokens(self) -> dict[int, str]:
        """Ids that no text gives, in order, and how the vocabulary writes them; those with a role are among them."""

    @abstractmethod
    def to_json(self) -> dict[str, Any]:
        """The content of a ``tokenizer.json`` that encodes alike; ``not_as_json`` must be None."""

    def _not_comparable(self, reason: str) -> UserError:
        return UserError(
            f"{self.path}: what its tokens stand for cannot be compared with another vocabulary: {reason}; give a "
            "SentencePiece model, or a byte-level BPE"
        )

    @cached_property
    def _exported(self) -> RustTokenizer:
        tokenizer = RustTokenizer.from_buffer(orjson.dumps(self.to_json()))
        tokenizer.encode_special_tokens = True
        return tokenizer

    def encode_as_exported(self, text: str) -> list[int]:
        """The ids that `to_json` gives in the `tokenizers` library."""
        return self._exported.encode(text, add_special_tokens=False).ids

    def check(self, sample_texts: Sequence[str]) -> None:
        """Prove on some texts that a model trained on these ids can be exported with a tokenizer that gives the same.

        Raises:
            UserError: it cannot; names the text.
        """
        if self.not_as_json:
            return
        for text in sample_texts:
            if self.can_encode(text) and self.encode_as_exported(text) != self.encode(text):
                raise UserError(
                    f"model.tokenizer.model={self.path}: its tokenizer.json encodes the text that begins with "
                    f"{text[:60]!r} otherwise than {self.library} does; use another tokenizer"
                )
