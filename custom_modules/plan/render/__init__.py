"""A plan as text for people: aligned tables, and for every decision the numbers it comes from; or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from custom_modules.plan.precision import render_precisions
from custom_modules.plan.render.compute import render_compute
from custom_modules.plan.render.data import render_data
from custom_modules.plan.render.decisions import render_decisions
from custom_modules.plan.render.disk import render_disk
from custom_modules.plan.render.memory import render_memory
from custom_modules.plan.render.stages import render_stages
from custom_modules.plan.render.summary import render_summary

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan


def render_text(plan: Plan) -> str:
    """The plan, section by section."""
    sections: tuple[Iterator[str], ...] = (
        render_summary(plan),
        render_precisions(plan.linears),
        render_stages(plan),
        render_decisions(plan),
        render_compute(plan),
        render_memory(plan),
        render_disk(plan),
        render_data(plan),
    )
    return "\n\n".join(map("\n".join, sections))


def as_json(plan: Plan) -> str:
    """The whole plan as one JSON object: field names as in `Plan`; tokens, bytes, FLOPs and hours unrounded."""
    return json.dumps(asdict(plan), indent=2, allow_nan=False)
