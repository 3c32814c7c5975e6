"""How a token is stored in a ``.bin``. Needs no numpy: a plan asks for its size."""

from __future__ import annotations

from typing import Literal

UINT16_VOCAB_LIMIT = 65_500
"""megatron-core stores tokens as uint16 below this vocabulary size, as int32 from it on."""


def token_dtype_name(vocab_size: int) -> Literal["uint16", "int32"]:
    """Return numpy's name of the dtype that megatron-core chooses for a vocabulary."""
    return "uint16" if vocab_size < UINT16_VOCAB_LIMIT else "int32"


def token_bytes(vocab_size: int) -> int:
    """Return the bytes of one token."""
    return {"uint16": 2, "int32": 4}[token_dtype_name(vocab_size)]
