"""ALiBi (Press et al., 2022, "Train short, test long"): a score falls with the distance of query and key, by a slope of
its head. Its numbers; what computes it is in `custom_modules.model.alibi`."""

from __future__ import annotations

FEATURES = 8
"""Further features of each head's queries, keys and values where the bias is folded into them, as in bf16."""

LONGEST_FOLDED = 65_536
"""Tokens of a sequence up to which both parts of a folded position are exact in bf16."""

BLOCK = 512
"""Queries that attend at a time where the bias is a mask, as in fp32."""


def slopes(heads: int) -> tuple[float, ...]:
    """Return the slope of each head of a model: ``2^(-8/n), 2^(-16/n), ...`` where n is a power of two.

    Of another number the first are those of the power of two below it, the rest every second one of the power above.
    """
    power = 1 << (heads.bit_length() - 1)
    between = _geometric(2 * power)[::2]
    return _geometric(power) + between[: heads - power]


def _geometric(heads: int) -> tuple[float, ...]:
    return tuple(2.0 ** (-8 * (head + 1) / heads) for head in range(heads))
