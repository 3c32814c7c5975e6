"""What a model reads for one context and some continuations."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]


@dataclass(frozen=True)
class Row:
    """A context and continuations that differ in their last token alone: what a model reads for them at once."""

    tokens: Tokens
    """``[n]``: the context and the continuation without its last token."""
    scored: int
    """How many tokens of a continuation are scored: at so many last positions of the row."""
    lasts: tuple[int, ...]
    """The continuations' last tokens."""
    shared: int = 0
    """With so many tokens other rows may begin too: they are computed once for those of a pass that do."""

    @property
    def is_single(self) -> bool:
        """Whether one token of each continuation is scored."""
        return self.scored == 1

    @property
    def beginning(self) -> bytes:
        """The tokens that it may share."""
        return self.tokens[: self.shared].tobytes()

    @property
    def key(self) -> str:
        """Return what no other row is called."""
        said = f"{self.scored} {self.lasts} {self.shared}".encode()
        return hashlib.sha256(said + b"\0" + self.tokens.tobytes()).hexdigest()[:32]
