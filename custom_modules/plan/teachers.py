"""What teachers cost a run: the room that what they say takes, and the hours in which they say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import StageStreams
from custom_modules.distillation.record import record_bytes
from custom_modules.plan.duration import Speed
from custom_modules.plan.memory import token_bytes
from custom_modules.plan.needed import needed_by_stream, reads_documents
from custom_modules.plan.prepared import PreparedData
from custom_modules.text import decimal_bytes

_BILLION = 10**9
FORWARD_FLOPS = 2
"""Per parameter and token: a multiply-add of each weight, attention not counted."""


@dataclass(frozen=True)
class TeacherPrice:
    """One teacher over the distilled parts, each of their tokens once."""

    name: str
    targets: str
    """top_k or text."""
    tokens: int
    """Of the distilled parts."""
    bytes: int
    """Of its rows, or of its texts where each is as long as its document."""
    is_prepared: bool
    """They are those that there are; else what the run reads, over the times that it may read it."""
    fills_sequences: bool
    """Each document is counted as if it filled a sequence, since none is prepared and a sequence is to be one."""
    parameters: int | None
    device_hours: float | None
    """Of reading all tokens, forward only, where its parameters are known and a device is."""
    device_hours_per_billion: float | None
    """The same for 10^9 parameters."""


def teacher_prices(
    config: Config, curriculum: Curriculum, speed: Speed | None, data: PreparedData
) -> tuple[TeacherPrice, ...]:
    """Price what the config's teachers say: of the distilled parts that are prepared, else of what the run reads.

    The hours are of the device and the MFU of the run's own. Of texts no hours are known: an API bills them, and a
    model writes them one token after another.
    """
    distillation = config.distillation
    if distillation is None or not distillation.teachers:
        return ()
    prepared = [part for sources in data.distilled.values() for part in sources.values()]
    tokens = sum(part.tokens for part in prepared) or sum(_distilled(config, stage) for stage in curriculum.stages)
    per_billion = FORWARD_FLOPS * _BILLION * tokens / speed.flops / 3600 if speed else None
    found = []
    for name, teacher in distillation.teachers.items():
        scores = teacher.targets == "top_k"
        size = record_bytes(distillation.top_k) if scores else token_bytes(config)
        hours = None
        if scores and per_billion is not None and teacher.parameters:
            hours = per_billion * teacher.parameters / _BILLION
        of_scoring = per_billion if scores else None
        found.append(
            TeacherPrice(
                name=name,
                targets=teacher.targets,
                tokens=tokens,
                bytes=tokens * size,
                is_prepared=bool(prepared),
                fills_sequences=not prepared and reads_documents(config),
                parameters=teacher.parameters,
                device_hours=hours,
                device_hours_per_billion=of_scoring,
            )
        )
    return tuple(found)


def _distilled(config: Config, stage: Stage) -> int:
    """Return the tokens that a stage's distilled parts must have; without a mix those that it trains, over the times
    that it may read them."""
    parts = needed_by_stream(config, stage, {})
    if parts:
        return sum(streams.get("distilled", 0) for streams in parts.values())
    every = config.distilled_every
    trained = StageStreams(stage, every).distilled_samples * stage.seq_length if every else 0
    often = min((config.data.max_epochs_of(source) for source in config.data.source_names), default=1)
    return -(-trained // often)


def lines(prices: tuple[TeacherPrice, ...]) -> Iterator[str]:
    """Word the prices, a line a teacher."""
    for price in prices:
        of = "prepared tokens" if price.is_prepared else "tokens"
        size = f"{price.name} ({price.targets}): {decimal_bytes(price.bytes)} beside {price.tokens:,} {of}"
        if price.targets == "text":
            yield f"{size}, where its texts are as long as theirs; hours of writing are not counted"
        elif price.device_hours is not None and price.parameters:
            yield (
                f"{size}; scoring them once, forward, with {price.parameters / _BILLION:.4g}B parameters: "
                f"{price.device_hours:,.4g} device-hours"
            )
        elif price.device_hours_per_billion is not None:
            yield f"{size}; scoring them once: {price.device_hours_per_billion:,.4g} device-hours per 1B parameters"
        else:
            yield size
    if any(price.fills_sequences for price in prices):
        yield "as if each document filled a sequence, of which it is the only one: prepared data is counted as it is"
