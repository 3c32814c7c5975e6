"""Times the data loader alone, over the rehearsal's own corpus. Run by ``python -m benchmarks``."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

from custom_modules.config.load import load_config
from custom_modules.curriculum.stages import Curriculum
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import training_dataset
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron
from data_prep.prepare import run


def main() -> None:
    import_megatron()
    with tempfile.TemporaryDirectory() as folder:
        config = load_config("danube_rehearsal", [f"data.dir={folder}/data", "trainer.devices=1"])
        manifest = run(config)
        rates = {}
        with Platform.detect(config).running(config):
            for stage in Curriculum.from_config(config).stages:
                dataset = training_dataset(config, manifest, stage, Path(folder) / "cache")
                begun = time.perf_counter()
                for _ in micro_batches(dataset, stage, 0, stage.num_samples, 0, config.model.vocab_size):
                    pass
                rates[stage.name] = stage.trained_tokens / (time.perf_counter() - begun)
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
