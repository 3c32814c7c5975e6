"""The ``data`` section of runs on conversations and on pairs of answers (sections 6.1 and 6.2 of Danube's report)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from custom_modules.config.sections import Float, Int, PathText, PositiveInt, Section, WithoutNull


class ConversationSource(Section):
    """One set of conversations, or of pairs."""

    path: PathText | None = None
    """A file or folder, or ``hf://datasets/OWNER/NAME``; null: `danube prepare` asks for it."""
    format: str | None = None
    """The form of its records; null: as its columns tell."""
    max_samples: PositiveInt | None = None
    """How many are trained on at most, drawn by ``data.seed``; null: all. What is held out is beside them."""
    system: Literal["drop", "prepend"] = "drop"
    """What becomes of a system prompt: it is dropped, or put before the first prompt. The format has no such role."""
    ends_only: bool = False
    """Of pairs from trees of messages: only those at the end of a conversation."""


class ChatDataConfig(Section):
    """Conversations or pairs, and how they become what is trained on."""

    dir: PathText
    sources: Annotated[dict[str, ConversationSource], WithoutNull]
    validation_fraction: Annotated[Float, Field(gt=0, lt=1)]
    seed: Annotated[Int, Field(ge=0, lt=2**31)]
    """Of the samples that ``max_samples`` draws."""
    on_error: Literal["skip", "raise"]
    on_damaged_file: Literal["fail", "skip"]
    shard_bytes: PositiveInt
    workers: PositiveInt | None
    tokens_per_sample: PositiveInt
    """What a plan counts with as long as nothing is prepared: the mean over the samples."""

    @property
    def expected_samples(self) -> int | None:
        """Samples of an epoch by ``max_samples``; None: a source has none, or there is no source."""
        numbers = [source.max_samples for source in self.sources.values()]
        known = [number for number in numbers if number is not None]
        return sum(known) if known and len(known) == len(numbers) else None


class SampleDataConfig(ChatDataConfig):
    """What `danube sft` reads, too."""

    prefetch_factor: PositiveInt
