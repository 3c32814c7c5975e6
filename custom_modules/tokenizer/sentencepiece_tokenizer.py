"""A SentencePiece model, encoded by SentencePiece itself."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from custom_modules.errors import UserError
from custom_modules.tokenizer.base import Tokenizer
from custom_modules.tokenizer.other_files import what_else
from custom_modules.tokenizer.sentencepiece_json import ModelProto, probes, to_json, why_not_exact
from custom_modules.tokenizer.vocabulary import Kind, Token, byte_of, piece_bytes, roles

UNICODE_FORMS = ("nfkc", "nmt_nfkc")
"""The normalizations that keep letters as they are; others fold case, or are a user's own."""


class SentencePieceTokenizer(Tokenizer):
    """A ``tokenizer.model``.

    SentencePiece 0.2.3 encodes English at 4 MB/s a core, as fast as the `tokenizers` library does with `to_json`, so
    the reference is used throughout.

    Raises:
        UserError: the file is no SentencePiece model, or has no eos.
    """

    library = "sentencepiece"

    def __init__(self, path: Path) -> None:
        content = path.read_bytes()
        self._proto = ModelProto()
        self._processor = SentencePieceProcessor()
        try:
            self._proto.ParseFromString(content)
            self._processor.LoadFromSerializedProto(content)
        except Exception:
            advice = what_else(content) or "give a tokenizer.model, or set model.tokenizer.library=huggingface"
            raise UserError(f"model.tokenizer.model={path}: not a SentencePiece model; {advice}") from None
        super().__init__(path, content, self._processor.vocab_size())
        if self._processor.eos_id() < 0:
            raise UserError(
                f"model.tokenizer.model={path}: it has no eos piece to end documents with; train it with one"
            )
        self.eos_id = self._processor.eos_id()
        self.bos_id = self._processor.bos_id() if self._processor.bos_id() >= 0 else None
        self.unk_id = self._processor.unk_id()
        self.pad_id = self._processor.pad_id() if self._processor.pad_id() >= 0 else None

    @cached_property
    def not_as_json(self) -> str | None:
        reason = why_not_exact(self._proto)
        if reason is None and any(self.encode(text) != self.encode_as_exported(text) for text in probes(self._proto)):
            reason = "it breaks ties between pieces of one score in a way of its own"
        return reason

    def encode(self, text: str) -> list[int]:
        return self._processor.encode(text)

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        return self._processor.encode(list(texts), num_threads=1)

    def decode(self, ids: Sequence[int]) -> str:
        return self._processor.decode(list(ids))

    def token(self, index: int) -> str:
        return self._processor.id_to_piece(index)

    def tokens(self) -> list[Token]:
        normalizer, kinds = self._proto.normalizer_spec, self._proto.SentencePiece
        control = self.control_tokens()
        if normalizer.precompiled_charsmap and normalizer.name not in UNICODE_FORMS:
            raise self._not_comparable(f"it changes the text ({normalizer.name})")
        named = roles(self.eos_id, self.bos_id, self.unk_id, self.pad_id)
        tokens = []
        for index, piece in enumerate(self._proto.pieces):
            if index in control:
                tokens.append(Token(Kind.CONTROL, piece.piece.encode(), named.get(index)))
            elif piece.type == kinds.BYTE:
                tokens.append(Token(Kind.BYTE, byte_of(piece.piece)))
            elif piece.type == kinds.UNUSED:
                tokens.append(Token(Kind.UNUSED, piece.piece.encode()))
            else:
                tokens.append(Token(Kind.TEXT, piece_bytes(piece.piece)))
        return tokens

    def control_tokens(self) -> dict[int, str]:
        kinds = (self._proto.SentencePiece.CONTROL, self._proto.SentencePiece.UNKNOWN)
        named = roles(self.eos_id, self.bos_id, self.unk_id, self.pad_id)
        pieces = enumerate(self._proto.pieces)
        return {index: piece.piece for index, piece in pieces if index in named or piece.type in kinds}

    def to_json(self) -> dict[str, Any]:
        return self._json

    @cached_property
    def _json(self) -> dict[str, Any]:
        return to_json(self._proto)
