"""What `slurm/curriculum.sh` asks sbatch for, and what would make the chain fail days later. Needs no torch."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import find_newest


def slurm_resources(config: TrainingConfig) -> list[str]:
    """What sbatch has to be asked for, one task a device."""
    trainer = config.trainer
    gpus = 0 if trainer.accelerator == "cpu" else trainer.devices
    return [f"--nodes={trainer.num_nodes}", f"--ntasks-per-node={trainer.devices}", f"--gpus-per-node={gpus}"]


def plan_submission(config: Config, first: str | None, last: str | None, after: str | None) -> Iterator[str]:
    """One line per stage to submit: its name, then sbatch's options, quoted for a shell. Finished stages have none.

    Args:
        first, last: names of stages; None: the curriculum's.
        after: a job that the first stage waits for. It may prepare the data, or train the stages before.

    Raises:
        UserError: an unknown stage, stages in the wrong order, or, where no job comes before, missing data or a run
            that has not reached the first stage.
    """
    stages = Curriculum.from_config(config).stages
    begin = _position(stages, "--from", first) if first else 0
    end = _position(stages, "--to", last) if last else len(stages) - 1
    if begin > end:
        raise UserError(f"--from {first} --to {last}: in the wrong order; the stages are {_names(stages)}")
    checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    consumed = checkpoint.consumed_tokens if checkpoint else 0
    if after is None:
        if consumed < stages[begin].start_tokens:
            raise UserError(
                f"--from {first}: starts at {stages[begin].start_tokens:,} tokens, but {config.run_dir} is at "
                f"{consumed:,}; begin with an earlier stage, or give the job that trains it with --after JOB"
            )
        manifest = load_manifest(config)
        for stage in stages[begin : end + 1]:
            manifest.parts(stage.name, "train")
    for stage in stages[begin : end + 1]:
        if consumed < stage.end_tokens:
            # A job's log has its name, where a slash would be a folder that is not there.
            name = f"{config.exp_manager.name}-{stage.name}".replace("/", "-")
            options = [f"--job-name={name}", f"--comment={config.run_dir.absolute()}"]
            yield shlex.join([stage.name, *slurm_resources(config), *options])


def _position(stages: tuple[Stage, ...], option: str, name: str) -> int:
    for position, stage in enumerate(stages):
        if stage.name == name:
            return position
    raise UserError(f"{option} {name}: no such stage; there are {_names(stages)}")


def _names(stages: tuple[Stage, ...]) -> str:
    return ", ".join(stage.name for stage in stages)
