"""Times a step distilled from three teachers beside a plain one of the same run. Run by ``python -m benchmarks``."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.batches import Batch, micro_batches
from custom_modules.data.random_targets import RandomTargets
from custom_modules.data.random_tokens import RandomTokens
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron

TEACHERS = ", ".join(f"teacher_{number}: {{targets: top_k}}" for number in range(3))
RUN = [
    *["trainer.devices=1", "trainer.cpu_threads=1", "model.architecture=lokilm", "model.sliding_window=null"],
    f"distillation={{every_n_batches: 4, top_k: 16, teachers: {{{TEACHERS}}}}}",
]
SETTINGS: dict[str, list[str]] = {
    "rehearsal": [],
    "hidden 512, V 32,000": [
        *["model.num_layers=6", "model.hidden_size=512", "model.ffn_hidden_size=1408", "model.vocab_size=32000"],
        *["model.num_query_groups=8", "model.encoder_seq_length=512"],
        *["model.global_batch_tokens=1024", "model.micro_batch_size=1"],
    ],
}


def main() -> None:
    """Print the CPU seconds of steps of both kinds, run in turn, by setting and kind, as JSON."""
    import_megatron()
    print(json.dumps({name: _measure(overrides) for name, overrides in SETTINGS.items()}))


def _measure(overrides: list[str], steps: int = 7) -> dict[str, list[float]]:
    from custom_modules.training.engine import Engine

    config = load_config("danube_rehearsal", [*RUN, *overrides])
    assert config.distillation
    platform = Platform.detect(config)
    with platform.running(config):
        curriculum = Curriculum.from_config(config)
        engine, stage = Engine(config, curriculum, platform), curriculum.stages[0]
        length, vocab_size = stage.seq_length, config.model.vocab_size
        datasets = {
            "plain": RandomTokens(length, vocab_size),
            "distilled": RandomTargets(length, vocab_size, config.distillation),
        }
        seconds: dict[str, list[float]] = {kind: [] for kind in datasets}
        for step in range(steps + 1):
            for kind, dataset in datasets.items():
                batches = _read(
                    micro_batches(dataset, stage, 0, stage.num_samples, 0, vocab_size), stage.num_microbatches
                )
                begun = time.process_time()
                engine.train_step(batches, stage)
                if step:
                    seconds[kind].append(time.process_time() - begun)
    return seconds


def _read(batches: Iterator[Batch], count: int) -> Iterator[Batch]:
    """Return so many that are there already, as a loader's are."""
    return iter([next(batches) for _ in range(count)])


if __name__ == "__main__":
    main()
