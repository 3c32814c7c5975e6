"""The prepared data of each stage, what it is mixed of, and the text that it needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from custom_modules.config.streams import STREAMS
from custom_modules.plan.render.words import count, fact
from custom_modules.text import as_yaml, decimal_bytes, table

if TYPE_CHECKING:
    from custom_modules.plan.plan import Plan


def render_data(plan: Plan) -> Iterator[str]:
    """Say whether the prepared data is enough, and how much text is needed."""
    prepared = plan.data
    yield f"Data: {prepared.problem}" if prepared.problem else f"Data of {prepared.manifest}"
    rows = []
    for stage in plan.stages:
        row = [stage.name, f"{stage.trained_tokens:,}", decimal_bytes(stage.dataset_bytes)]
        if data := prepared.stages.get(stage.name):
            epochs = "" if data.epochs is None else f"{data.epochs:,.3f}"
            short = f"enough but for {count(data.beyond_epochs, 'sequence')}, which are read once more"
            row += [f"{data.tokens:,}", epochs, data.refused or (short if data.beyond_epochs else "enough")]
        rows.append(row)
    header = ["stage", "trained tokens", "dataset"]
    verdict = f"with data.max_epochs={as_yaml(plan.max_epochs)}"
    yield from table([*header, "prepared tokens", "epochs", verdict] if prepared.stages else header, rows)
    yield from (fact("validation", problem) for problem in prepared.validation)
    yield from _sources(plan)
    yield from _needed(plan)


def _needed(plan: Plan) -> Iterator[str]:
    """Say how much text stages with a mix need of each source."""
    if plan.needed_tokens:
        names = [stage.name for stage in plan.stages]
        yield ""
        often = "" if plan.max_epochs == 1 else f", with data.max_epochs={as_yaml(plan.max_epochs)}"
        yield f"Training text that must be there, beside that for validation{often}"
        rows = []
        for source, stages in plan.needed_tokens.items():
            rows.append(_needed_row(source, names, stages))
            parts = plan.needed_by_stream.get(source, {})
            for stream in STREAMS if parts else ():
                own = {name: part[stream] for name, part in parts.items() if stream in part}
                rows.append(_needed_row(f"  {stream}", names, own))
        yield from table(["source", *names, "tokens in all"], rows)
        if plan.reads_documents:
            yield fact("distilled", f"a sequence there is one document, {_as_long_as(plan)}")


def _as_long_as(plan: Plan) -> str:
    """Say how long a document is taken to be."""
    found = [part for sources in plan.data.distilled.values() for part in sources.values()]
    if documents := sum(part.documents for part in found):
        mean = sum(part.tokens for part in found) / documents
        return f"counted as long as those that are prepared: {mean:,.0f} tokens on average"
    return "counted as if it filled the sequence until data is prepared"


def _needed_row(name: str, stages: Sequence[str], tokens: Mapping[str, int]) -> list[str]:
    return [name, *(f"{tokens[stage]:,}" if stage in tokens else "" for stage in stages), f"{sum(tokens.values()):,}"]


def _sources(plan: Plan) -> Iterator[str]:
    """Say of stages that mix several sources how much of each is trained, and how often that reads it."""
    rows = []
    for stage in plan.stages:
        data = plan.data.stages.get(stage.name)
        found = data.sources if data else {}
        shares = {name: source.share for name, source in found.items()} or stage.mix or {}
        for name, share in shares.items() if len(shares) > 1 else ():
            row = [f"{stage.name} {name}", f"{share:.2%}", f"{share * stage.trained_tokens:,.0f}"]
            if source := found.get(name):
                row += [f"{source.tokens:,}", f"{source.epochs:,.3f}"]
            elif plan.data.stages:
                row += ["", ""]
            rows.append(row)
    if rows:
        header = ["source", "share", "trained tokens"]
        yield ""
        yield "Sources"
        yield from table([*header, "prepared tokens", "epochs"] if plan.data.stages else header, rows)
