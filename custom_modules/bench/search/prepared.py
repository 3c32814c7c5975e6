"""Whether there is enough prepared data to time steps on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from custom_modules.bench.search.trials import MOST_STEPS
from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.data.blends import blends_of
from custom_modules.data.layout import MANIFEST
from custom_modules.data.manifest import load_manifest, may_read
from custom_modules.errors import UserError


def check_prepared(config: TrainingConfig, stages: Sequence[str]) -> None:
    """Refuse prepared windows that are fewer than a trial may read. Samples of fine-tuning are read over and over.

    Args:
        stages: those that are measured.

    Raises:
        UserError: one line that names the data, and what to do.
    """
    if not isinstance(config, Config) or not (Path(config.data.dir) / MANIFEST).is_file():
        return
    manifest, curriculum = load_manifest(config), Curriculum.from_config(config)
    for name in stages:
        phase = curriculum.stage(name).phases[-1]
        read = replace(phase, token_budget=(1 + MOST_STEPS) * phase.global_batch_tokens)
        for blend in blends_of(config, read, manifest.parts(name, "train")):
            for part, wanted, per_epoch in blend.wanted():
                if not may_read(wanted, per_epoch, config.data.max_epochs_of(part.source)):
                    raise UserError(
                        f"data.dir={config.data.dir}: too short to time {name}: {part.bin.name} has {per_epoch:,} "
                        f"sequences of {phase.seq_length:,} tokens, and {1 + MOST_STEPS} steps read {wanted:,}; "
                        "prepare more, or give --random-tokens"
                    )
