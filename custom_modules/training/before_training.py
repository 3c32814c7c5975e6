"""What has to be right before a run's first step: its checkpoint, its place in the curriculum, its data."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.dataset import short_parts
from custom_modules.data.manifest import Manifest
from custom_modules.data.teachers import check_teachers
from custom_modules.data.validation_limits import check_limit, check_windows, source_limits
from custom_modules.data.validation_set import ValidationSet, choose_validation, read_validation
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from custom_modules.platform.rank_0 import on_rank_0, own_share
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.ownership import INDEX_CACHE
from custom_modules.run_folder.rollbacks import Rollback

Say = Callable[[str], None]


def target_stage(config: Config, curriculum: Curriculum) -> Stage:
    """Return the last stage to train."""
    name = config.curriculum.stage
    return curriculum.stage(name) if name else curriculum.stages[-1]


def stages_to_come(curriculum: Curriculum, target: Stage, consumed_tokens: int) -> list[Stage]:
    """Return those of which something is left to train, up to the target."""
    return [s for s in curriculum.stages if s.end_tokens > consumed_tokens and s.start_tokens < target.end_tokens]


def check_predecessor(config: Config, target: Stage, consumed_tokens: int, rollbacks: Sequence[Rollback] = ()) -> None:
    """Refuse a stage run on its own that does not start where the one before it ended, unless it went back from there.

    Raises:
        UserError: the run is not there yet.
    """
    if any(one.from_tokens <= consumed_tokens and one.spike_tokens > target.start_tokens for one in rollbacks):
        return
    if config.curriculum.stage is not None and consumed_tokens < target.start_tokens:
        raise UserError(
            f"curriculum.stage={target.name}: starts at {target.start_tokens:,} tokens, but "
            f"{config.run_dir} is at {consumed_tokens:,}; run the stages before it first"
        )


def verify_data(config: Config, manifest: Manifest, stages: Sequence[Stage], say: Say) -> None:
    """Have rank 0 look at the files of the stages still to train; a problem stops every rank. Collective.

    Raises:
        UserError: a file is not what the manifest says, or a teacher's are missing.
    """

    def verify() -> None:
        for stage in stages:
            for short in short_parts(config, manifest, stage):
                say(short)
        parts = [part for stage in stages for part in manifest.parts(stage.name, "train")]
        parts += [part for name in manifest.stages for part in manifest.parts(name, "validation")]
        for part in parts:
            verify_part(part, config.model.vocab_size, manifest.eos_id)
        check_teachers(config, manifest, stages)

    on_rank_0(verify)


def validation_documents(
    config: Config, manifest: Manifest, stages: Sequence[Stage], checkpoint: Checkpoint | None, say: Say
) -> tuple[dict[str, int] | None, ValidationSet | None]:
    """Choose the documents that the run is validated on, or find those that it began with. Collective.

    Returns:
        The limits they were chosen by, and the documents; None for both in a run of a version before 0.2.

    Raises:
        UserError: there is too little to validate on.
    """
    limits: dict[str, int] | None = source_limits(config, manifest)
    if checkpoint is not None and checkpoint.consumed_tokens:
        begun = checkpoint.progress.validation_limits
        if begun is not None and begun != limits:
            say(
                f"validation stays on the {sum(begun.values()):,} tokens that this run began with, whatever "
                "trainer.limit_val_tokens and the mixes are now"
            )
        limits = begun
    else:
        for line in on_rank_0(partial(check_limit, config, manifest)):
            say(line)
    if limits is None:
        check_windows(config, manifest, stages)
        return None, None
    path = on_rank_0(partial(choose_validation, manifest, limits, config.run_dir / INDEX_CACHE))
    with own_share():
        return limits, read_validation(path)
