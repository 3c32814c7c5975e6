"""Going back from a spike: to which checkpoint, how often, and how a run learns at its start that it had gone back."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.data.reordering import Cut
from custom_modules.errors import DivergedError, UserError
from custom_modules.platform.rank_0 import on_rank_0
from custom_modules.run_folder.abandoned import known_rollbacks, set_aside
from custom_modules.run_folder.checkpoint_files import Checkpoint, folder_name, list_folders, open_checkpoint
from custom_modules.run_folder.progress import Progress
from custom_modules.run_folder.rollbacks import ROLLBACKS, Rollback, chain, read_rollbacks, write_rollbacks
from custom_modules.training.spike_watch import SpikeFound

Say = Callable[[str], None]


def finish_rollbacks(config: Config, say: Say) -> None:
    """Do what a killed run had left to do of a rollback, before the newest checkpoint is looked for. Collective.

    Raises:
        UserError: ``rollbacks.jsonl`` is damaged, or another run's.
    """
    for path in on_rank_0(lambda: set_aside(config.run_dir, read_rollbacks(config.run_dir))):
        say(f"set aside {path}, of a stretch that the run went back from")


def rollbacks_so_far(config: Config, checkpoint: Checkpoint | None, say: Say) -> list[Rollback]:
    """Return the rollbacks that a run goes on with, those that the checkpoint alone knows of among them. Collective.

    Raises:
        UserError: ``rollbacks.jsonl`` is damaged, or another run's.
    """

    def find() -> tuple[list[Rollback], str | None]:
        in_file = read_rollbacks(config.run_dir)
        if checkpoint is None:
            return in_file, None
        known = known_rollbacks(config.run_dir, in_file, checkpoint)
        if len(known) == len(in_file):
            return known, None
        write_rollbacks(config.run_dir, known)
        return known, (
            f"{config.run_dir / ROLLBACKS}: had {len(in_file)} of the {len(known)} rollbacks that "
            f"{checkpoint.path.name} knows of; written anew from its copy"
        )

    known, note = on_rank_0(find)
    if note is not None:
        say(note)
    return known


def cuts_of(stage: Stage, rollbacks: Sequence[Rollback]) -> tuple[Cut, ...]:
    """Return where a stage is read in another order: what was left of it at each rollback, up to the spike's stage."""
    return tuple(
        Cut(max(0, stage.consumed_samples(one.from_tokens)), one.seed)
        for one in rollbacks
        if one.from_tokens < stage.end_tokens and one.spike_tokens > stage.start_tokens
    )


def go_back(config: Config, progress: Progress, spike: SpikeFound, damaged: Collection[Path]) -> Checkpoint:
    """Choose the checkpoint, write the rollback down and set the stretch behind it aside. One process calls it.

    The first two times it is the newest whole one of before the first high step; from then on one older each time.

    Args:
        progress: where the run is, with its rollbacks so far.
        damaged: folders that are no checkpoints.

    Returns:
        What to load; ``rollbacks.jsonl`` then has one more.

    Raises:
        DivergedError: it went back as often as it may, or there is no checkpoint to go back to.
    """
    options = config.exp_manager.loss_spike
    assert options is not None
    since = chain(progress.rollbacks)
    if since and _is_past(config.run_dir, max(one.spike_tokens for one in since), damaged):
        since = []
    checkpoint = _before(config.run_dir, spike.first_high_tokens, max(0, len(since) - 1), damaged)
    if len(since) >= options.max_rollbacks:
        raise ended(
            spike,
            progress,
            f"it went back exp_manager.loss_spike.max_rollbacks={options.max_rollbacks} times",
            checkpoint,
        )
    if checkpoint is None:
        raise ended(spike, progress, "there is nothing to go back to", None)
    rollback = Rollback(
        from_tokens=checkpoint.consumed_tokens,
        spike_tokens=progress.consumed_tokens,
        first_high_tokens=spike.first_high_tokens,
        stage=progress.stage,
        seed=config.model.seed + len(progress.rollbacks) + 1,
        attempt=len(since) + 1,
        reason=spike.reason,
    )
    rollbacks = [*progress.rollbacks, rollback]
    write_rollbacks(config.run_dir, rollbacks)
    set_aside(config.run_dir, rollbacks)
    return checkpoint


def ended_by_choice(config: Config, progress: Progress, spike: SpikeFound, damaged: Collection[Path]) -> DivergedError:
    """Word the end of a run that is not to go back. One process calls it."""
    options = config.exp_manager.loss_spike
    assert options is not None
    checkpoint = _before(config.run_dir, spike.first_high_tokens, 0, damaged)
    why = f"exp_manager.loss_spike.on_spike={options.on_spike} (rollback would go back and on by itself)"
    return ended(spike, progress, why, checkpoint)


def ended(spike: SpikeFound, progress: Progress, why: str, checkpoint: Checkpoint | None) -> DivergedError:
    """Word the end of a run by a spike, and what to try.

    Args:
        why: it does not go back.
        checkpoint: of before it; None: there is none.
    """
    if checkpoint is None:
        stands = f"there is no checkpoint of before its first high step, at {spike.first_high_tokens:,} tokens"
        anew = "a lower model.optim.lr or another model.seed with another exp_manager.name"
    else:
        stands = f"the last checkpoint before it is {checkpoint.path}"
        anew = f"model.restore_from_path={checkpoint.path} and a lower model.optim.lr with another exp_manager.name"
    return DivergedError(
        f"step {progress.step:,} ({progress.stage}): {spike.reason}; stopped without saving: {why}; {stands}; try "
        f"{anew}, or, if that was no spike, a higher exp_manager.loss_spike.floor or patience"
    )


def _is_past(run_dir: Path, tokens: int, damaged: Collection[Path]) -> bool:
    """Tell whether there is a checkpoint later than a spike."""
    return any(path.name > folder_name(tokens) for path in list_folders(run_dir) if path not in damaged)


def _before(run_dir: Path, tokens: int, back: int, damaged: Collection[Path]) -> Checkpoint | None:
    """Return the newest whole checkpoint that is not behind so many tokens, or one so many before it; the oldest where
    there are fewer."""
    found = None
    for path in reversed(list_folders(run_dir)):
        if path.name > folder_name(tokens) or path in damaged:
            continue
        try:
            found = open_checkpoint(path)
        except UserError:
            continue
        if not back:
            break
        back -= 1
    return found
