"""Data with a stretch that is no text, where some steps of a stage read it: what they find is a loss spike."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import load_manifest


def damage(arguments: Sequence[str], steps: range, cache: Path, stage_name: str = "stage1") -> None:
    """Write random tokens over what a run would read in some steps of a stage.

    Args:
        arguments: overrides, with ``data.dir``, whose files are changed.
        cache: for index files.
    """
    import torch

    from custom_modules.data.dataset import training_dataset
    from custom_modules.platform import Platform
    from custom_modules.platform.megatron import import_megatron

    import_megatron()
    config = load_config("danube_rehearsal", [*arguments, "trainer.devices=1"])
    manifest = load_manifest(config)
    stage = Curriculum.from_config(config).stage(stage_name)
    random = np.random.default_rng(0)
    with Platform.detect(config).running(config):
        dataset = training_dataset(config, manifest, stage, cache)
        size = stage.global_batch_size
        samples = [dataset[n]["tokens"].numpy() for n in range(steps.start * size, steps.stop * size)]
    for part in manifest.parts(stage_name, "train"):
        tokens = np.memmap(part.bin, dtype=part.dtype, mode="r+")
        windows = np.lib.stride_tricks.sliding_window_view(tokens, stage.seq_length)
        for sample in samples:
            for at in np.flatnonzero((windows == sample.astype(tokens.dtype)).all(axis=1)):
                here = tokens[at : at + stage.seq_length]
                keep = here == manifest.eos_id
                here[:] = np.where(keep, here, random.integers(4, config.model.vocab_size, len(here)))
        tokens.flush()
    assert torch.distributed.is_initialized() is False
