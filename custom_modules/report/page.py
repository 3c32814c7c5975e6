"""The report's page: the figure, a table of the stages and the run's config, in one file that loads nothing else."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from custom_modules.plan.phases import HEADER
from custom_modules.report.distilled import distilled_rows
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.history import AbandonedStretch, History, StageHistory
from custom_modules.run_folder.metrics import Metrics, ValidationMetrics
from custom_modules.text import flatten

_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{name}</title>
<style>
body {{ margin: 2.5rem auto; max-width: 72rem; padding: 0 1.5rem; color: #1f2933; background: #fff;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }}
h1 {{ font-size: 1.6rem; margin: 0; }}
h2 {{ font-size: 1.1rem; margin: 2.2rem 0 .6rem; }}
p {{ margin: .3rem 0 1.2rem; color: #52606d; }}
img {{ width: 100%; height: auto; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .4rem .8rem; text-align: right; border-bottom: 1px solid #e4e7eb; white-space: nowrap; }}
th:first-child, td:first-child {{ text-align: left; }}
th {{ color: #52606d; font-weight: 600; }}
table.config {{ width: auto; font-size: .9rem; }}
table.config td {{ text-align: left; padding: .15rem 1.2rem .15rem 0; white-space: normal; overflow-wrap: anywhere; }}
code {{ font: .9em ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }}
summary {{ cursor: pointer; font-weight: 600; }}
</style>
<h1>{name}</h1>
<p>{summary}</p>
<img alt="{alt}" src="data:image/png;base64,{png}">
<h2>Stages</h2>
<div class="wide"><table>
{stages}
</table></div>
{distilled}{phases}{rollbacks}{best}{evaluations}{shares}{tables}<h2>Config</h2>
{config}
</html>
"""
_PHASES = '<h2>Batch</h2>\n<div class="wide"><table>\n{rows}\n</table></div>\n'
_BEST = "<h2>Best checkpoints</h2>\n<p>{what}</p>\n<table>\n{rows}\n</table>\n"
_ROLLBACKS = (
    "<h2>Rollbacks</h2>\n<p>The stretches that the run went back from are grey in the figure.</p>\n"
    '<div class="wide"><table>\n{rows}\n</table></div>\n'
)
_ROLLBACK_COLUMNS = ("stage", "high from", "spike at", "back to", "highest loss", "seed of the new order", "reason")
_DISTILLED = '<h2>Distillation</h2>\n<div class="wide"><table>\n{rows}\n</table></div>\n'
_TABLE = '<h2>{heading}</h2>\n<div class="wide"><table>\n{rows}\n</table></div>\n'
_SHARES = '<h2>Data</h2>\n<img alt="Share of each source in each stage\'s tokens" src="data:image/png;base64,{png}">\n'
ALT = "Training loss, validation loss, learning rate and sequence length against tokens trained"
ALT_TASKS = "; accuracy and bits per byte of tasks likewise"
ALT_PREFERENCES = "Loss, accuracy, margin and learning rate against tokens trained"
_COLUMNS = (
    "stage",
    "sequence length",
    "tokens",
    "first loss",
    "last loss",
    "validation loss at its end",
    "bits a byte",
    "tokens/s (median)",
)


def render_page(
    history: History,
    name: str,
    png: bytes,
    config: Mapping[str, Any] | None,
    shares: bytes | None = None,
    phases: Sequence[tuple[str, ...]] = (),
    best: Sequence[Checkpoint] = (),
    tables: Sequence[tuple[str, Sequence[tuple[str, ...]]]] = (),
    alt: str = ALT,
    evaluations: str = "",
) -> str:
    """The page as HTML.

    Args:
        history: a run so far.
        name: the run's.
        png: the figure.
        config: the run's resolved config, if it is known.
        shares: the figure of the sources' shares, where there are several.
        phases: rows of those of stages whose batch grows.
        best: checkpoints that are kept for their loss, best first.
        tables: further ones, each with its heading; of the rows the first is the header.
        alt: what the figure shows, in words.
        evaluations: the section of the suites that were run on its checkpoints, as HTML.
    """
    rows = [_row("th", _COLUMNS), *(_row("td", _cells(stage)) for stage in history.stages)]
    return _PAGE.format(
        name=escape(name),
        summary=escape(_summary(history)),
        alt=alt,
        png=base64.b64encode(png).decode(),
        distilled=_distilled(history),
        phases=_phases(phases),
        best=_best(best),
        evaluations=evaluations,
        rollbacks=_rollbacks(history.abandoned),
        shares=_SHARES.format(png=base64.b64encode(shares).decode()) if shares else "",
        stages="\n".join(rows),
        tables="".join(_table(heading, cells) for heading, cells in tables),
        config=_config(config),
    )


def _summary(history: History) -> str:
    first, last = history.train[0], history.train[-1]
    text = f"{history.end_tokens:,} tokens in {last.step:,} steps. Training loss {first.loss:.3f} to {last.loss:.3f}"
    if history.validation:
        end = history.validation[-1].loss
        text += f"; validation loss {end:.3f} at the end"
        if end < math.log(10**6):
            text += f", a perplexity of {math.exp(end):,.1f}"
    bits = history.validation[-1].bits_per_byte if history.validation else None
    scored = "" if bits is None else f" and {bits:.3f} bits per byte of its text"
    return f"{text}{scored}. Losses are nats per token."


def _cells(stage: StageHistory) -> tuple[str, ...]:
    speed = stage.tokens_per_second
    return (
        stage.name,
        f"{stage.seq_length:,}",
        f"{stage.end_tokens - stage.start_tokens:,}",
        _loss(stage.train[:1]),
        _loss(stage.train[-1:]),
        _loss(stage.validation[-1:]),
        _bits(stage.validation[-1:]),
        "none" if speed is None else f"{speed:,.0f}",
    )


def _phases(rows: Sequence[tuple[str, ...]]) -> str:
    cells = [_row("th", HEADER), *(_row("td", row) for row in rows)]
    return _PHASES.format(rows="\n".join(cells)) if rows else ""


def _best(checkpoints: Sequence[Checkpoint]) -> str:
    if not checkpoints:
        return ""
    rows = [("checkpoint", "tokens", "step", "training loss"), *map(_checkpoint, checkpoints)]
    what = f"Of {escape(checkpoints[0].stage)}, by the mean training loss since the checkpoint before."
    return _BEST.format(what=what, rows="\n".join(_row("td" if place else "th", row) for place, row in enumerate(rows)))


def _checkpoint(checkpoint: Checkpoint) -> tuple[str, ...]:
    loss = f"{checkpoint.progress.reduced_train_loss:.4f}"
    return checkpoint.path.name, f"{checkpoint.consumed_tokens:,}", f"{checkpoint.step:,}", loss


def _rollbacks(stretches: Sequence[AbandonedStretch]) -> str:
    rows = [_row("th", _ROLLBACK_COLUMNS)]
    for stretch in stretches:
        one, losses = stretch.rollback, [point.loss for point in stretch.train if math.isfinite(point.loss)]
        tokens = (one.first_high_tokens, one.spike_tokens, one.from_tokens)
        highest = f"{max(losses):.4f}" if losses else "none"
        rows.append(_row("td", (one.stage, *(f"{count:,}" for count in tokens), highest, str(one.seed), one.reason)))
    return _ROLLBACKS.format(rows="\n".join(rows)) if stretches else ""


def _distilled(history: History) -> str:
    header, *rows = distilled_rows(history) or [()]
    cells = [_row("th", header), *(_row("td", row) for row in rows)]
    return _DISTILLED.format(rows="\n".join(cells)) if rows else ""


def _table(heading: str, cells: Sequence[tuple[str, ...]]) -> str:
    rows = [_row("td" if number else "th", row) for number, row in enumerate(cells)]
    return _TABLE.format(heading=escape(heading), rows="\n".join(rows))


def _loss(points: Sequence[Metrics]) -> str:
    return f"{points[0].loss:.4f}" if points else "none"


def _bits(points: Sequence[ValidationMetrics]) -> str:
    known = [point.bits_per_byte for point in points if point.bits_per_byte is not None]
    return f"{known[0]:.4f}" if known else "not known"


def _row(tag: str, cells: tuple[str, ...]) -> str:
    return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def _config(config: Mapping[str, Any] | None) -> str:
    if config is None:
        return "<p>Not known: the run has no checkpoint yet.</p>"
    rows = "\n".join(
        f"<tr><td><code>{escape(key)}</code></td><td><code>{escape(_value(value))}</code></td></tr>"
        for key, value in flatten(config)
    )
    return f'<details open><summary>Every value</summary>\n<table class="config">\n{rows}\n</table></details>'


def _value(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
