"""Times each loader alone, over the rehearsal's own corpus. Run by ``python -m benchmarks``."""

from __future__ import annotations

import json
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.dataset import training_dataset
from custom_modules.data.loader import Loader
from custom_modules.platform import Platform
from custom_modules.platform.environment import import_megatron_for
from data_prep.prepare import run

ROUNDS = 3
LOADERS = ["native", *(["dali"] if find_spec("nvidia") and find_spec("nvidia.dali") else [])]


def main() -> None:
    """Prints, for each stage and loader, the tokens/s of rounds that were run in turn."""
    with tempfile.TemporaryDirectory() as folder:
        words = [f"data.dir={folder}/data", "trainer.devices=1", "trainer.accelerator=auto"]
        config = load_config("danube_rehearsal", words)
        import_megatron_for(config)
        manifest = run(config)
        rates: dict[str, dict[str, list[float]]] = {}
        platform = Platform.detect(config)
        with platform.running(config):
            for stage in Curriculum.from_config(config).stages:
                dataset = training_dataset(config, manifest, stage, Path(folder) / "cache")
                rates[stage.name] = {loader: [] for loader in LOADERS}
                for loader in LOADERS * ROUNDS:
                    data = load_config("danube_rehearsal", [*words, f"data.loader={loader}"]).data
                    reader = Loader(data, config.model.vocab_size, 0, platform.device)
                    begun = time.perf_counter()
                    with reader.open(dataset, stage, range(stage.num_samples)) as batches:
                        for _ in batches:
                            pass
                        platform.synchronize()
                    rates[stage.name][loader].append(stage.trained_tokens / (time.perf_counter() - begun))
    print(json.dumps(rates))


if __name__ == "__main__":
    main()
