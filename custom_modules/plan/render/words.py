"""How a plan writes numbers, times and facts."""

from __future__ import annotations


def fact(name: str, text: str) -> str:
    """Write a line about one thing: its name, and what is said of it."""
    return f"  {name:<11} {text}"


def count(number: int, noun: str) -> str:
    """Write a number of things, the noun in the singular for one."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def decimal(value: float) -> str:
    """Write at most three decimals, none for a whole number."""
    return f"{value:,.3f}".rstrip("0").rstrip(".")


def significant(value: float) -> str:
    """Write thousands separators above 100, three significant digits below."""
    return f"{value:,.1f}" if value >= 100 else f"{value:.3g}"


def duration(hours: float) -> str:
    """Write hours: in days beside them from two days on, in seconds below one hour."""
    if hours >= 48:
        return f"{hours:,.0f} hours ({hours / 24:,.1f} days)"
    return f"{hours:,.1f} hours" if hours >= 1 else f"{significant(hours * 3600)} seconds"
