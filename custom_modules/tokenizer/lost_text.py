"""Text that a ``tokenizer.json`` has no token for: whether there may be any, and where it is in a text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer as RustTokenizer
from tokenizers.models import BPE, Unigram

from custom_modules.errors import UserError
from custom_modules.tokenizer.huggingface_vocabulary import Json, byte_alphabet, components


class LostTextError(UserError):
    """A text that a tokenizer could only encode by leaving some of it out.

    Args:
        index: of the text among those that were to be encoded.
    """

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


def unknown_token(content: Json) -> str | None:
    """Return the token that the model of a ``tokenizer.json`` puts in place of what it does not know; None: none."""
    model = content["model"]
    vocabulary = model["vocab"]
    if isinstance(vocabulary, list):
        index = model.get("unk_id")
        return None if index is None else vocabulary[index][0]
    unknown = model.get("unk_token")
    return unknown if unknown in vocabulary else None


def loses_text(content: Json) -> bool:
    """Whether the model of a ``tokenizer.json`` has neither a token for every byte nor an unknown token."""
    model = content["model"]
    vocabulary = model["vocab"]
    if unknown_token(content) is not None:
        return False
    pieces = {piece for piece, _ in vocabulary} if isinstance(vocabulary, list) else set(vocabulary)
    if model.get("byte_fallback"):
        return any(f"<0x{byte:02X}>" not in pieces for byte in range(256))
    stages = (*components(content.get("normalizer")), *components(content.get("pre_tokenizer")))
    in_bytes = any(stage["type"] == "ByteLevel" for stage in stages) and byte_alphabet().keys() <= pieces
    return not in_bytes or bool(model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"))


def lost_text(path: Path, tokenizer: RustTokenizer, texts: Sequence[str]) -> LostTextError:
    """Make the error that names the first character or word that cannot be encoded, in the first text that has one.

    Args:
        path: the tokenizer's file.
        texts: one of which at least cannot be encoded.
    """
    index = next((index for index, text in enumerate(texts) if fails(tokenizer, text)), 0)
    position, lost = _first(texts[index], tokenizer)
    code = f" (U+{ord(lost):04X})" if len(lost) == 1 else ""
    where = "" if position is None else f", character {position + 1:,} of the text"
    return LostTextError(
        f"model.tokenizer.model={path}: it has no token for {lost!r}{code}{where}, which would be lost; give a "
        "tokenizer with byte fallback or an unknown token, or take such text out",
        index,
    )


def fails(tokenizer: RustTokenizer, text: str) -> bool:
    """Whether a text cannot be encoded."""
    try:
        tokenizer.encode(text, add_special_tokens=False)
    except Exception:
        return True
    return False


def _first(text: str, tokenizer: RustTokenizer) -> tuple[int | None, str]:
    if _goes_by_characters(tokenizer.model):
        without = {character for character in set(text) if fails(tokenizer, character)}
        position = next((position for position, character in enumerate(text) if character in without), None)
        if position is not None:
            return position, text[position]
    normal = tokenizer.normalizer.normalize_str(text) if tokenizer.normalizer else text
    pieces: list[tuple[str, Any]] = tokenizer.pre_tokenizer.pre_tokenize_str(normal) if tokenizer.pre_tokenizer else []
    word = next((piece for piece, _ in pieces if fails(tokenizer, piece)), text)
    return (text.find(word) if word in text else None), word[:60]


def _goes_by_characters(model: Any) -> bool:
    """Whether a character has a token or not whatever stands beside it."""
    if isinstance(model, BPE):
        return not (model.continuing_subword_prefix or model.end_of_word_suffix)
    return isinstance(model, Unigram)
