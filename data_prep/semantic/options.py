"""What ``data.steps.semdedup`` and ``data.steps.prototypes`` can be told, with their defaults.

The LokiLM report gives no number; where a default is the paper's, its line says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import Field, ValidationError

from custom_modules.config.sections import Float, Int, PositiveInt, Section
from custom_modules.errors import UserError


class SemanticOptions(Section):
    """Options that both steps have: the encoder's, and the clusters'."""

    encoder: str
    """A local folder: a transformers encoder, or one that sentence-transformers saved."""
    max_length: Annotated[Int, Field(gt=2)] | None = None
    """Tokens that are read of a text, from its beginning; None: as many as the encoder's folder says."""
    prefix: str = ""
    """Put before every text, such as E5's ``query: ``."""
    batch_size: PositiveInt = 32
    """Texts at a time; no vector depends on it but in rounding."""
    device: str = "cpu"
    """``cpu``, ``cuda`` or ``cuda:1``, for the encoder."""
    dtype: Literal["float32", "float16"] = "float32"
    """The type of the vectors on disk."""
    clusters: PositiveInt | None = None
    """None: the square root of the number of documents, as `data_prep.semantic.clusters.cluster_count` says."""
    sample: PositiveInt = 200_000
    """Different vectors that the clusters are trained on, at most; in memory."""
    seed: Annotated[Int, Field(ge=0, lt=2**31)] = 1234


class SemDedupOptions(SemanticOptions):
    max_cosine: Annotated[Float, Field(gt=0, lt=1)] = 0.95
    """``1 - epsilon`` of the paper: two documents of a cluster with a cosine above it are copies."""
    keep: Literal["hard", "easy", "random"] = "hard"
    """The copy of several that stays: the one least like its centroid (the paper's), the one most like it, or any."""
    rows_in_memory: PositiveInt = 250_000
    """Vectors of whole clusters that are read at a time; a cluster that is larger is read alone."""


class PrototypeOptions(SemanticOptions):
    drop_fraction: Annotated[Float, Field(ge=0, lt=1)] = 0.2
    """The share of the documents that goes, over all shards."""
    keep: Literal["hard", "easy"] = "hard"
    """``hard``: the documents nearest to their prototype go; ``easy``: the farthest."""


Options = TypeVar("Options", bound=SemanticOptions)


def read_options(step: str, model: type[Options], given: Mapping[str, object]) -> Options:
    """Check values by the option's name.

    Args:
        step: its name in ``data.steps``, for messages.
        model: `SemDedupOptions` or `PrototypeOptions`.

    Raises:
        UserError: a missing or unknown option, or a value that it cannot have; one line.
    """
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
    key, reason = ".".join(map(str, problem["loc"])), problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "missing":
        raise UserError(f"data.steps.{step}.{key}: missing; give a value")
    if problem["type"] == "extra_forbidden":
        reason = f"no such option; use {', '.join(model.model_fields)}"
    raise UserError(f"data.steps.{step}.{key}={problem['input']}: {reason[0].lower()}{reason[1:]}")
