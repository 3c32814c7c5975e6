"""What attention sees where documents in a sequence do not see each other (``data.reset_attention_mask``).

`danube prepare` lays a part's documents end to end, and training cuts that stream into sequences, whose borders fall
anywhere in a document. So of two tokens of one document that are ``d`` apart, a sequence of ``s`` has both with the
probability ``1 - d / s``, and the pairs that a query sees add up, in expectation over the order of the documents, to a
closed form.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.blends import blends_of
from custom_modules.data.lengths import lengths_of
from custom_modules.data.manifest import Lengths, Manifest, Part
from custom_modules.errors import UserError
from custom_modules.plan.flops import visible_pairs


@dataclass(frozen=True)
class SeenContext:
    """A sequence of a stage, on average over what the stage draws."""

    documents: float
    """Documents that it has tokens of."""
    ends: float
    """The share of its tokens that end a document."""
    pairs: float
    """Query-key pairs that attention sees: inside documents where it stops at their ends."""
    share: float
    """These pairs, of those that the causal mask and the sliding window leave."""


def seen_contexts(config: Config, manifest: Manifest) -> dict[str, SeenContext]:
    """Return what attention sees in each stage, by its name.

    Returns:
        Nothing where ends of documents mean nothing to a run. Not among them is a stage that its data does not allow,
        and one whose documents' lengths are not known, where they are needed.
    """
    if not config.data.keys_of_documents:
        return {}
    stages = Curriculum.from_config(config).stages
    parts = {stage.name: manifest.stages.get(stage.name, {}).get("train", []) for stage in stages}
    return {stage.name: found for stage in stages if (found := _seen_in(config, stage, parts[stage.name]))}


def pairs_by_stage(seen: Mapping[str, SeenContext]) -> dict[str, float]:
    """Return the pairs alone, as `custom_modules.plan.flops` takes them."""
    return {name: context.pairs for name, context in seen.items()}


def seen_pairs(lengths: Lengths, seq_length: int, sliding_window: int | None) -> float:
    """Return the query-key pairs that a sequence is expected to have inside documents.

    Args:
        lengths: of the documents, each with its end, as `custom_modules.data.lengths` has them.
    """
    pairs = sum(count * _pairs_of(tokens / count, seq_length, sliding_window) for count, tokens in lengths)
    return seq_length * pairs / sum(tokens for _, tokens in lengths)


def _pairs_of(length: float, seq_length: int, sliding_window: int | None) -> float:
    """Return the pairs of a document of ``length`` tokens: the sum of ``(length - d) (1 - d / seq_length)`` over the
    distances ``d`` that it has and that are seen."""
    seen = min(sliding_window or seq_length, seq_length, length)
    first, second = seen * (seen - 1) / 2, seen * (seen - 1) * (2 * seen - 1) / 6
    return seen * length - (1 + length / seq_length) * first + second / seq_length


def _seen_in(config: Config, stage: Stage, parts: Sequence[Part]) -> SeenContext | None:
    length, window = stage.seq_length, config.model.sliding_window
    all_pairs = visible_pairs(length, window)
    ends, pairs = 0.0, 0.0
    try:
        blends = blends_of(config, stage, parts) if any(part.tokens for part in parts) else []
    except UserError:
        return None
    for blend in blends:
        share = blend.num_samples / stage.num_samples
        if blend.whole_documents:
            pairs += share * all_pairs
            continue
        for part, weight in zip(blend.parts, blend.weights, strict=True):
            lengths = lengths_of(part) if config.separates_documents else None
            if config.separates_documents and not lengths:
                return None
            drawn = float(weight) * share
            ends += drawn * part.documents / part.tokens
            pairs += drawn * (seen_pairs(lengths, length, window) if lengths else all_pairs)
    if not blends:
        return None
    # A document begins behind every end but the last, and one is there already.
    return SeenContext(1 + (length - 1) * ends, ends, pairs, pairs / all_pairs)
