"""Figure 2 of Danube's paper: the shares of each source in each stage, as planned and as prepared."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, cycle
from typing import TYPE_CHECKING, Any

from custom_modules.config.load import validate, with_defaults
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.prepared import PreparedData, read_prepared
from custom_modules.report.figure import SOFTWARE, STYLE, token_unit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _DPI = STYLE["text.color"], STYLE["xtick.color"], 150
_COLORS = ("#2563a8", "#e0902f", "#3a7d44", "#7b4397", "#b8433f", "#3aa6a6", "#8c6d46", "#d073a6", "#7a8594", "#b3ad2e")
_BAR, _PITCH = 0.36, 0.42
_LABELLED = 0.045
"""The least share of a bar that there is room in to write a number."""


@dataclass(frozen=True)
class StageShares:
    """What a stage is made of: fractions by source, in the order of the mix."""

    name: str
    tokens: int
    """Its budget."""
    planned: Mapping[str, float]
    """Of the tokens that are trained: the mix, or in proportion to what is prepared."""
    prepared: Mapping[str, float]
    """Of the tokens that are there to train on; empty where nothing is prepared."""
    reported: Mapping[str, float]
    """Of the paper, as far as it gives them."""


def stage_shares(config: Config, data: PreparedData) -> tuple[StageShares, ...]:
    """Return the shares of every stage; nothing where no stage has more than one source.

    Args:
        data: as `custom_modules.plan.prepared.read_prepared` measures it.
    """
    found = []
    for name, stage in config.curriculum.stages.items():
        sources = data.stages[name].sources if name in data.stages else {}
        trained = {source: one.share for source, one in sources.items()} or stage.mix or {}
        order = [*(stage.mix or {}), *(source for source in trained if source not in (stage.mix or {}))]
        total = sum(one.tokens for one in sources.values())
        prepared = {source: sources[source].tokens / total for source in order if source in sources}
        planned = {source: trained[source] for source in order if source in trained}
        found.append(StageShares(name, stage.tokens, planned, prepared, stage.reported_mix))
    return tuple(found) if any(len(shares.planned) > 1 for shares in found) else ()


def shares_of_run(plain: Mapping[str, Any]) -> tuple[StageShares, ...]:
    """Return the shares of a run by its config; nothing where that cannot be read or there is one source."""
    try:
        config = validate(with_defaults(plain))
        return stage_shares(config, read_prepared(config, Curriculum.from_config(config)))
    except UserError:
        return ()


def source_colors(shares: Iterable[Mapping[str, float]]) -> dict[str, str]:
    """Return a colour for every source, in the order they come; more than there are colours begin again."""
    return dict(zip(dict.fromkeys(chain.from_iterable(shares)), cycle(_COLORS), strict=False))


def draw_shares(stages: Sequence[StageShares], name: str) -> bytes:
    """Draw two bars a stage, the plan above what is prepared, as a PNG.

    Args:
        stages: in the order they are trained.
        name: for the heading.
    """
    from matplotlib import style
    from matplotlib.figure import Figure

    colors = source_colors(shares for stage in stages for shares in (stage.planned, stage.prepared))
    with style.context(["default", STYLE]):
        figure = Figure(figsize=(10.5, 1.5 + 1.05 * len(stages)), layout="constrained", facecolor="white")
        axes = figure.subplots()
        for row, stage in enumerate(stages):
            _draw_bar(axes, row - _PITCH / 2, stage.planned, colors)
            _draw_bar(axes, row + _PITCH / 2, stage.prepared, colors)
        _draw_axes(axes, stages)
        handles = [axes.barh(0, 0, color=color, label=source) for source, color in colors.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(len(colors), 6), frameon=False)
        figure.suptitle(name, x=0.01, ha="left", fontsize=15, fontweight="bold", color=_INK)
        png = io.BytesIO()
        figure.savefig(png, format="png", dpi=_DPI, metadata={"Software": SOFTWARE})
    return png.getvalue()


def _draw_bar(axes: Axes, height: float, shares: Mapping[str, float], colors: Mapping[str, str]) -> None:
    begin = 0.0
    for source, share in shares.items():
        axes.barh(height, share, _BAR, begin, color=colors[source], edgecolor="white", linewidth=0.8)
        if share >= _LABELLED:
            middle = begin + share / 2
            axes.text(middle, height, f"{share:.1%}", ha="center", va="center", fontsize=9, color="white")
        begin += share
    if not shares:
        axes.text(0.01, height, "no prepared data", ha="left", va="center", fontsize=9, color=_MUTED)


def _draw_axes(axes: Axes, stages: Sequence[StageShares]) -> None:
    from matplotlib.ticker import PercentFormatter

    axes.set_title("Share of each source in each stage's tokens", pad=10)
    axes.set_xlim(0, 1)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_ylim(len(stages) - 0.4, -0.6)
    ticks = [row + side * _PITCH / 2 for row in range(len(stages)) for side in (-1, 1)]
    axes.set_yticks(ticks, ["planned", "prepared"] * len(stages))
    axes.tick_params(axis="y", length=0)
    for row, stage in enumerate(stages):
        factor, unit = token_unit(stage.tokens)
        axes.text(
            -0.105,
            row,
            f"{stage.name}\n{stage.tokens / factor:,.4g} {unit.removesuffix('s')} tokens{_in_the_paper(stage)}",
            transform=axes.get_yaxis_transform(),
            ha="right",
            va="center",
            fontsize=9,
            color=_MUTED,
        )


def _in_the_paper(stage: StageShares) -> str:
    shares = ", ".join(f"{source} {share:.1%}" for source, share in stage.reported.items())
    return f"\nin the paper: {shares}" if shares else ""
