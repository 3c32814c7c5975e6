"""Hugging Face <-> checkpoints: `to_hf`, `from_hf`, `verify`; llama.cpp: `to_gguf`; another vocabulary:
`remap_tokenizer`."""

from __future__ import annotations

from custom_modules.conversion.gguf_export import to_gguf
from custom_modules.conversion.hf_export import to_hf
from custom_modules.conversion.hf_import import from_hf
from custom_modules.conversion.remap import remap_tokenizer
from custom_modules.conversion.verification import verify

__all__ = ["from_hf", "remap_tokenizer", "to_gguf", "to_hf", "verify"]
