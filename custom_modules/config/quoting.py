"""Overrides that Hydra's grammar does not take as they were typed, and how they are to be written."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import Any

_PARTS = re.compile(r"""("(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[\[\]{},])""")
"""What a list or a mapping is divided by, and texts in quotes, which are one part whatever is in them."""
_RECIPE = "write it into a recipe of your own (--config-dir, --config-name)"


def why_not_taken(overrides: Sequence[str]) -> str | None:
    """Say in one line which override has no single value in Hydra's grammar, and how to write it; None: all have."""
    for override, *cut in _with_what_a_shell_cut(overrides):
        if cut:
            written = quoted(" ".join((override, *cut)))
            advice = (
                f"if it belongs to {override}, a value with spaces is to be in quotes: {written}" if written else ""
            )
            return f"{cut[0]}: not KEY=VALUE{advice and '; '}{advice}"
        parsed = _parsed(override)
        if parsed is None:
            return f"{_on_one_line(override)}: {_on_one_line(_how_to_write(override))}"
        if parsed.is_sweep_override():
            return f"{override}: a run has one value here, not several; {_one_value(override)}"
    return None


def _with_what_a_shell_cut(overrides: Sequence[str]) -> list[list[str]]:
    """Each override with the words behind it that are none, as a shell cuts a value at its spaces."""
    groups: list[list[str]] = []
    for word in overrides:
        if groups and "=" not in word and not word.startswith("~"):
            groups[-1].append(word)
        else:
            groups.append([word])
    return groups


def quoted(override: str) -> str | None:
    """An override as a shell takes it, with quotes around what of its value Hydra would not take; None: none help."""
    if _is_taken(override):
        return shlex.quote(override)
    key, _, value = override.partition("=")
    written = "".join(_with_quotes(value)) if _has_brackets(value) else _quote(value)
    return shlex.quote(f"{key}={written}") if written and _is_taken(f"{key}={written}") else None


def _how_to_write(override: str) -> str:
    key, sign, value = override.partition("=")
    if not sign:
        return "not KEY=VALUE"
    if not _is_taken(f"{key}=x"):
        return f"a key that has more than plain letters, digits, _ and - cannot be typed; {_RECIPE}"
    if written := quoted(override):
        listed = _as_list(key, value) if "," in value and not _has_brackets(value) else None
        as_list = f", or write {listed} for a list" if listed else ""
        return f"put such a value in quotes, and the whole in quotes of the shell: {written}{as_list}"
    return f"its brackets, commas and colons make no list and no mapping; correct them, or {_as_text(key, value)}"


def _one_value(override: str) -> str:
    key, _, value = override.partition("=")
    listed = None if "(" in value else _as_list(key, value)
    return f"{f'write {listed} for a list' if listed else 'start a run for each'}, or {_as_text(key, value)}"


def _as_list(key: str, value: str) -> str | None:
    return quoted(f"{key}=[{value}]")


def _as_text(key: str, value: str) -> str:
    text = _quote(value)
    return f"write {shlex.quote(f'{key}={text}')} for one text" if text else f"if it is one text, {_RECIPE}"


def _has_brackets(value: str) -> bool:
    return value[:1] in ("[", "{")


def _with_quotes(value: str) -> Iterator[str]:
    """The parts of a list or a mapping; of those that Hydra would not take what stands behind a key is in quotes."""
    for part in _PARTS.split(value):
        head, item = re.match(r"(\s*(?:[\w.-]+:\s)?\s*)(.*)", part, re.DOTALL).groups()  # type: ignore[union-attr]
        item = item.rstrip()
        taken = not item or _PARTS.fullmatch(item) or _is_taken(f"x={item}")
        yield part if taken else f"{head}{_quote(item) or item}"


def _quote(text: str) -> str | None:
    """A text in the kind of quotes in which Hydra reads it as it is; None: in neither."""
    for mark in ('"', "'"):
        # A backslash counts only before a quote, and before the closing one too.
        escaped = re.sub(rf"(\\*){mark}", rf"\1\1\\{mark}", text)
        written = mark + re.sub(r"(\\+)\Z", r"\1\1", escaped) + mark
        parsed = _parsed(f"x={written}")
        if parsed is not None and not parsed.is_sweep_override() and parsed.value() == text:
            return written
    return None


def _is_taken(override: str) -> bool:
    parsed = _parsed(override)
    return parsed is not None and not parsed.is_sweep_override()


def _parsed(override: str) -> Any:
    """Hydra's own reading of an override; None: it has none."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None


def _on_one_line(text: str) -> str:
    return text.replace("\n", "\\n").replace("\r", "\\r")
