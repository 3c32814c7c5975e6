"""How much of each source a run is validated on, and whether the validation documents that there are allow it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from fractions import Fraction

from custom_modules.config.schema import TEXT, Config
from custom_modules.config.stages import Stage
from custom_modules.data.manifest import Manifest, Part, part_weights
from custom_modules.errors import UserError


def source_limits(config: Config, manifest: Manifest) -> dict[str, int]:
    """Share out ``trainer.limit_val_tokens`` among the sources, as the whole curriculum is trained on them."""
    return {source: int(share * config.trainer.limit_val_tokens) for source, share in _shares(config, manifest).items()}


def validation_parts(manifest: Manifest) -> list[Part]:
    """Return every stage's validation documents: all of them belong to the set that is chosen from."""
    return [part for name in manifest.stages for part in manifest.stages[name].get("validation", [])]


def shortest_documents(manifest: Manifest) -> dict[str, int]:
    """Return the tokens of the shortest validation document of each source that has one.

    Raises:
        UserError: an index file cannot be read.
    """
    from custom_modules.data.index import open_index  # brings numpy, which a plan without data does without

    found: dict[str, int] = {}
    for part in validation_parts(manifest):
        lengths = open_index(part.idx).lengths
        if len(lengths):
            found[part.source] = min(int(lengths.min()), found.get(part.source, int(lengths.min())))
    return found


def check_limit(config: Config, manifest: Manifest) -> list[str]:
    """Make sure that there is something to validate on.

    Returns:
        A line for every source that is not validated.

    Raises:
        UserError: no source is; or an index file cannot be read.
    """
    shares, shortest = _shares(config, manifest), shortest_documents(manifest)
    limits = source_limits(config, manifest)
    missed = [source for source, limit in limits.items() if limit < shortest.get(source, limit + 1)]
    enough = {source: math.ceil(shortest[source] / shares[source]) for source in missed if source in shortest}
    key = f"trainer.limit_val_tokens={config.trainer.limit_val_tokens}"
    if len(missed) == len(limits):
        remedy = f"set trainer.limit_val_tokens={min(enough.values())} or more" if enough else "prepare more text"
        raise UserError(f"{key}: no validation document of {manifest.path} is that short; {remedy}")
    return list(_not_validated(key, missed, limits, enough))


def validation_problems(config: Config, manifest: Manifest) -> list[str]:
    """Return the lines of `check_limit`, that of its error among them; none where no files are there."""
    parts = validation_parts(manifest)
    if not parts or not all(part.idx.is_file() for part in parts):
        return []
    try:
        return check_limit(config, manifest)
    except UserError as error:
        return [str(error)]


def check_windows(config: Config, manifest: Manifest, stages: Sequence[Stage]) -> None:
    """Make sure that the validation splits fill a micro-batch of each stage, for a run that reads them as windows.

    Raises:
        UserError: as `window_count`.
    """
    for stage in stages:
        window_count(
            config, stage, sum((part.tokens - 1) // stage.seq_length for part in window_parts(manifest, stage))
        )


def window_parts(manifest: Manifest, stage: Stage) -> list[Part]:
    """Return the validation parts that hold a window of a stage.

    Raises:
        UserError: none does.
    """
    parts = [part for part in validation_parts(manifest) if part.tokens > stage.seq_length]
    if not parts:
        raise UserError(
            f"{manifest.path}: no validation part holds a sequence of {stage.seq_length} tokens for {stage.name}; "
            "add text, prepare it into another data.dir with a larger data.validation_fraction, and begin another run "
            "with this one's weights (model.restore_from_path)"
        )
    return parts


def window_count(config: Config, stage: Stage, available: int) -> int:
    """Return how many of the windows that there are a stage evaluates.

    Raises:
        UserError: they do not fill a micro-batch on every rank.
    """
    group = config.model.micro_batch_group
    at_least = stage.data_parallel_size * group
    together = stage.micro_batch_size * at_least
    allowed = config.trainer.limit_val_tokens // stage.seq_length
    if min(allowed, available) >= together:
        return min(allowed, available) // together * together
    share = stage.global_batch_size // stage.data_parallel_size
    fitting = [size for size in range(1, available // at_least + 1) if share % (size * group) == 0]
    if not fitting:
        raise UserError(
            f"trainer.devices={config.trainer.devices}: {stage.name} evaluates at least {at_least} sequences of "
            f"{stage.seq_length} at a time, and there are {available}; use fewer devices"
        )
    size = min(max(fitting), stage.micro_batch_size)
    remedies = []
    if size < stage.micro_batch_size:
        remedies.append(f"curriculum.stages.{stage.name}.micro_batch_size={size}")
    if allowed < size * at_least:
        remedies.append(f"trainer.limit_val_tokens={size * at_least * stage.seq_length}")
    raise UserError(
        f"trainer.limit_val_tokens={config.trainer.limit_val_tokens}: {stage.name} evaluates {together} sequences of "
        f"{stage.seq_length} at a time, and there are {available}; set {' and '.join(remedies)}"
    )


def _shares(config: Config, manifest: Manifest) -> dict[str, Fraction]:
    """Return the share of each source that is trained in the tokens of the whole curriculum."""
    shares: dict[str, Fraction] = {}
    total = sum(stage.tokens for stage in config.curriculum.stages.values())
    for name, stage in config.curriculum.stages.items():
        parts = manifest.parts(name, "train")
        for part, weight in zip(parts, part_weights(parts, stage.mix), strict=True):
            shares[part.source] = shares.get(part.source, Fraction()) + weight * Fraction(stage.tokens, total)
    return {source: share for source, share in shares.items() if share}


def _not_validated(
    key: str, missed: Iterable[str], limits: Mapping[str, int], enough: Mapping[str, int]
) -> Iterator[str]:
    for source in missed:
        of = "the text" if source == TEXT else source
        if source in enough:
            yield (
                f"{key}: {of} is not validated, as its share of {limits[source]} tokens holds none of its documents; "
                f"set trainer.limit_val_tokens={enough[source]} or more"
            )
        else:
            yield f"{of} is not validated: it has no validation document; prepare more of it"
