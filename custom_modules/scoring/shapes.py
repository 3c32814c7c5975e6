"""The shapes that forward passes have. An item's score depends on them alone, not on what stands beside it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

_PADDED = 16
"""At most one part in so many of a long row is padding."""


@dataclass(frozen=True)
class Shapes:
    """The lengths that rows are filled up to, and how many of them a forward pass has.

    No option changes them: with other shapes a device sums in another order, and scores have other last bits.
    """

    step: int
    """Every length is a multiple of it."""
    tokens: int
    """Of a forward pass, where a row is not longer."""
    positions: int
    """Positions whose logits are held at a time, of rows with several that count."""
    generated: int
    """Tokens of a pass that generates, the new ones among them."""
    shares: bool = False
    """Whether a pass is one sequence of many texts, whose common beginnings are computed once."""
    most: int | None = None
    """No row is longer: what a model reads at most, where a longer one would have no positions."""

    def length(self, tokens: int) -> int:
        """Return the length of the row of so many tokens, its bucket."""
        step = self.step
        while tokens > _PADDED * step:
            step *= 2
        length = max(1, -(-tokens // step)) * step
        return length if self.most is None else min(length, self.most)

    def sequence(self, tokens: int) -> int:
        """Return the length of the sequence that a text of so many tokens stands in, alone or among others."""
        return self.length(max(tokens, self.tokens))

    def rows(self, length: int) -> int:
        """Return how many rows of a length a forward pass has."""
        return max(1, self.tokens // length)

    def generated_rows(self, length: int) -> int:
        """Return how many rows a pass has that generates.

        Args:
            length: of a row with its new tokens.
        """
        return max(1, self.generated // length)

    def at_once(self, length: int, is_single: bool) -> int:
        """Return at how many positions the output layer computes logits at a time.

        Args:
            is_single: whether each row has one position that counts, and there are as many rows in every pass.
        """
        return self.rows(length) if is_single else self.positions

    def in_multiples_of(self, parts: int) -> Shapes:
        """Return shapes whose lengths can be divided into so many parts, for ranks that share a sequence."""
        step = self.step
        while step % parts:
            step += self.step
        return replace(self, step=step)

    def key(self) -> Mapping[str, Any]:
        """Return all that scores depend on, for a record."""
        return {**asdict(self), "padded": _PADDED}


CPU = Shapes(step=8, tokens=512, positions=64, generated=4_096)
CPU_SHARED = replace(CPU, tokens=2_048, shares=True)
GPU = Shapes(step=16, tokens=16_384, positions=512, generated=65_536)
