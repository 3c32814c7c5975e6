"""Text to token ids and back, exactly as SentencePiece itself or the `tokenizers` library does it."""

from __future__ import annotations

from custom_modules.tokenizer.base import Tokenizer
from custom_modules.tokenizer.load import copy_tokenizer, load_tokenizer

__all__ = ["Tokenizer", "copy_tokenizer", "load_tokenizer"]
