"""The list in docs/engine.md: ``python -m custom_modules.doctor.megatron_page`` writes it anew."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

from custom_modules.doctor.megatron_fit import module_and_name
from custom_modules.doctor.megatron_uses import Use, uses
from custom_modules.platform.megatron import import_megatron

PAGE = Path(__file__).resolve().parents[2] / "docs" / "engine.md"
BEGIN, END = "<!-- of the source: -->\n", "<!-- the end -->\n"


def names_of(found: dict[str, Use]) -> str:
    """Return the uses as Markdown: a table for each module of megatron-core."""
    placed = [(*module_and_name(name), use) for name, use in found.items()]
    return "\n".join(
        line for module, group in groupby(sorted(placed, key=_place), _module) for line in _table(module, group)
    )


def with_names(page: str, found: dict[str, Use]) -> str:
    """Return a page with these uses in the place of those that it has.

    Args:
        page: its text, with a line that begins the list and one that ends it.
    """
    before, _, rest = page.partition(BEGIN)
    _, _, behind = rest.partition(END)
    return f"{before}{BEGIN}\n{names_of(found)}\n{END}{behind}"


def _place(one: tuple[str, str, Use]) -> tuple[str, str]:
    return one[:2]


def _module(one: tuple[str, str, Use]) -> str:
    return one[0]


def _table(module: str, group: Iterator[tuple[str, str, Use]]) -> Iterator[str]:
    yield f"`{module}`\n"
    yield "| name | asked for as | by |"
    yield "| --- | --- | --- |"
    for _, name, use in group:
        calls = [f"`{name.rpartition('.')[2]}{call}`" for call in sorted(use.calls)]
        choice = " or ".join(f"`{name.rpartition('.')[2]}{call}`" for call in sorted(use.calls_by_version))
        members = ", ".join(f"`.{member}`" for member in sorted(use.members))
        asked = "; ".join(part for part in (*calls, choice, members) if part)
        by = ", ".join(f"`{ours.partition('.')[2]}`" for ours in sorted(use.modules))
        yield f"| `{name or module}` | {asked} | {by} |"
    yield ""


if __name__ == "__main__":
    import_megatron("cpu")
    PAGE.write_text(with_names(PAGE.read_text(), uses()))
