"""The table as a page of the docs: ``python -m custom_modules.config.nemo.page > docs/nemo.md`` writes it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from custom_modules.config.nemo.fates import Fate
from custom_modules.config.nemo.table import SECTIONS, TABLE

HEAD = """\
# NeMo's keys

What the keys of NeMo 1's `megatron_gpt_config.yaml` and of NeMo 2's recipes are here, on the command line and in a file
of your own alike. `danube` refuses a key that is not in this table and none of ours.

| fate | keys | what happens |
| --- | ---: | --- |
{counts}

Steps, samples and batches become tokens, where they are as many in every step: of every stage, or of the one that
`curriculum.stage` chooses. null for a key that is translated or refused is a key that is not given. `.*` stands for all
keys of a section that have no line of their own.
"""

WHAT = {
    Fate.SAME: "it is a key of ours",
    Fate.TRANSLATED: "it is accepted, and a line says which keys of ours it sets to what",
    Fate.ANYWAY: "the value that says what is so is accepted, any other refused; a line says where nothing reads it",
    Fate.REFUSED: "a line says which key and value to use, or why there is none",
}


def page() -> str:
    """Return the page as Markdown."""
    counts = Counter(entry.fate for entry in TABLE.values())
    rows = "\n".join(f"| {fate.value} | {counts[fate]} | {WHAT[fate]} |" for fate in Fate)
    return "\n".join([HEAD.format(counts=rows), *_sections()])


def _sections() -> Iterator[str]:
    for title, entries in SECTIONS.items():
        yield f"## {title}\n"
        yield "| key | fate | here |"
        yield "| --- | --- | --- |"
        yield from (f"| `{entry.name}` | {entry.fate.value} | {entry.here} |" for entry in entries)
        yield ""


if __name__ == "__main__":
    print(page(), end="")
