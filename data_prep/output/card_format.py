"""A data card's tables as Markdown and as a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from custom_modules.report.shares import source_colors


@dataclass(frozen=True)
class Bar:
    """A bar that is divided by shares, which add up to 1, or none."""

    group: str
    label: str
    shares: Mapping[str, float]


@dataclass(frozen=True)
class Table:
    """A heading, what it says, and rows; the first row is the header."""

    title: str
    text: str
    rows: Sequence[Sequence[str]]
    bars: Sequence[Bar] = ()
    """A figure of the rows, for the page."""


def markdown(title: str, tables: Sequence[Table]) -> str:
    blocks = [f"# {title}"]
    for table in tables:
        blocks.append(f"## {table.title}")
        if table.text:
            blocks.append(table.text)
        if table.rows:
            header, *rows = [[cell.replace("|", "\\|") for cell in row] for row in table.rows]
            lines = [header, ["---"] * len(header), *rows]
            blocks.append("\n".join(f"| {' | '.join(line)} |" for line in lines))
    return "\n\n".join(blocks) + "\n"


_STYLE = (
    "body{margin:2.5rem auto;max-width:72rem;padding:0 1.5rem;color:#1f2933;font:16px/1.55 system-ui,sans-serif}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums}"
    "th,td{padding:.3rem .8rem;text-align:left;border-bottom:1px solid #e4e7eb;overflow-wrap:anywhere}"
    ".bars{display:grid;grid-template-columns:auto auto 1fr;gap:.25rem .8rem;align-items:center;margin:1rem 0}"
    ".bar{display:flex;height:1.6rem}.bar span,.legend i{color:#fff;font:.8rem/1.6rem system-ui,sans-serif}"
    ".bar span{text-align:center;overflow:hidden;border-right:1px solid #fff;box-sizing:border-box}"
    ".legend{grid-column:3}.legend i{display:inline-block;width:1rem;height:.8rem;margin:0 .4rem 0 0}"
    ".legend b{font-weight:400;margin-right:1.2rem}"
    "th{color:#52606d}h2{font-size:1.1rem;margin:2rem 0 .4rem}td:last-child{color:#3e7cb1}"
)


def html(title: str, tables: Sequence[Table]) -> str:
    blocks = [f"<h1>{escape(title)}</h1>"]
    for table in tables:
        blocks.append(f"<h2>{escape(table.title)}</h2>")
        if table.text:
            blocks.append(f"<p>{escape(table.text)}</p>")
        if table.bars:
            blocks.append(_figure(table.bars))
        if table.rows:
            rows = []
            for number, row in enumerate(table.rows):
                kind = "td" if number else "th"
                rows.append("<tr>" + "".join(f"<{kind}>{escape(cell)}</{kind}>" for cell in row) + "</tr>")
            blocks.append(f"<table>{''.join(rows)}</table>")
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{escape(title)}</title><style>{_STYLE}</style>'
    return head + "\n".join(blocks) + "</html>\n"


def _figure(bars: Sequence[Bar]) -> str:
    """Bars below one another, with their legend."""
    colors = source_colors(bar.shares for bar in bars)
    cells = []
    for bar in bars:
        pieces = "".join(
            f'<span style="width:{share:.4%};background:{colors[name]}" title="{escape(name)} {share:.1%}">'
            f"{f'{share:.1%}' if share >= 0.05 else ''}</span>"
            for name, share in bar.shares.items()
        )
        cells.append(f'<b>{escape(bar.group)}</b><div>{escape(bar.label)}</div><div class="bar">{pieces}</div>')
    legend = "".join(f'<i style="background:{color}"></i><b>{escape(name)}</b>' for name, color in colors.items())
    return f'<div class="bars">{"".join(cells)}<div class="legend">{legend}</div></div>'
