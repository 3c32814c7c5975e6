"""Times the training step with ALiBi beside the same with rotary embeddings. Run by ``python -m benchmarks``."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from benchmarks.against_plain_loop import our_step
from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron

KINDS: dict[str, list[str]] = {"rope": [], "alibi": ["model.architecture=lokilm"]}
SAME = ["trainer.devices=1", "trainer.cpu_threads=1", "model.sliding_window=null"]
SETTINGS: dict[str, list[str]] = {
    "fp32, rehearsal": [],
    "bf16, head dim 64": [
        *["trainer.precision=bf16-mixed", "model.num_layers=4", "model.hidden_size=512", "model.ffn_hidden_size=1408"],
        *["model.num_query_groups=8", "model.encoder_seq_length=512"],
        *["model.global_batch_tokens=1024", "model.micro_batch_size=2"],
    ],
}


def main() -> None:
    """Print the CPU seconds of steps of both kinds, run in turn, by setting and kind, as JSON."""
    import_megatron()
    print(json.dumps({name: _measure(overrides) for name, overrides in SETTINGS.items()}))


def _measure(overrides: list[str], steps: int = 7) -> dict[str, list[float]]:
    configs = {kind: load_config("danube_rehearsal", [*SAME, *overrides, *own]) for kind, own in KINDS.items()}
    platform = Platform.detect(configs["rope"])
    with platform.running(configs["rope"]):
        run: dict[str, Callable[[], None]] = {}
        for kind, config in configs.items():
            curriculum = Curriculum.from_config(config)
            run[kind] = our_step(config, platform, curriculum.stages[0], curriculum)
            run[kind]()
        seconds: dict[str, list[float]] = {kind: [] for kind in run}
        for _ in range(steps):
            for kind, step in run.items():
                begun = time.process_time()
                step()
                seconds[kind].append(time.process_time() - begun)
    return seconds


if __name__ == "__main__":
    main()
