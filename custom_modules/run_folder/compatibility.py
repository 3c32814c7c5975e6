"""Whether a run may go on from a checkpoint: with the config, the tokenizer and the data that it was made with."""

from __future__ import annotations

from custom_modules.config.marks import may_change
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import Manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.text import flatten


def check_resumable(config: Config, curriculum: Curriculum, manifest: Manifest, checkpoint: Checkpoint) -> None:
    """Refuse to continue a checkpoint under a config that contradicts it.

    Raises:
        UserError: every difference, as ``key: checkpoint -> config``, in one line.
    """
    saved = dict(flatten(checkpoint.config().model_dump(mode="json")))
    now = dict(flatten(config.model_dump(mode="json")))
    differences = [
        f"{key}: {saved.get(key)} -> {now.get(key)}"
        for key in sorted(saved.keys() | now.keys())
        if saved.get(key) != now.get(key) and not may_change(Config, key)
    ]
    if differences:
        raise UserError(
            f"{checkpoint.path}: the config contradicts the checkpoint (checkpoint -> config): "
            f"{'; '.join(differences)}; take them back, or set another exp_manager.name to start anew"
        )
    if checkpoint.tokenizer_sha256 != manifest.tokenizer_sha256:
        raise UserError(
            f"{checkpoint.path}: trained with tokenizer {checkpoint.tokenizer_sha256}, but {manifest.path} was "
            f"prepared with {manifest.tokenizer_sha256}; set data.dir to the data it was trained on"
        )
    trained = checkpoint.progress.data
    for stage in curriculum.stages:
        if stage.name in trained and trained[stage.name] != manifest.digest(stage.name):
            raise UserError(
                f"{checkpoint.path}: {stage.name} was trained on other data than {manifest.path} now has, so its "
                "position means nothing there; set data.dir to the data it was trained on"
            )
