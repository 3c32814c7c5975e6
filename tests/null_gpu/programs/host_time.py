"""Times the host in training steps on the null GPU, and in Transformer Engine's layers alone; prints a JSON object.

No kernel runs: CPU time is what Python, torch's dispatch and the libraries take to give a GPU its work. The argument
is a JSON object with ``config`` and ``overrides``; the first stage is trained.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.platform.megatron import import_megatron

REPEATS = 5
"""How often a pass is timed; the fastest counts: what else the machine does only adds to it."""


def main(request: dict[str, Any]) -> dict[str, Any]:
    import_megatron("gpu")
    from megatron.core.fp8_utils import get_fp8_context

    from custom_modules.training.engine import Engine
    from tests.null_gpu.programs.fake_world import rank_0, same_batches
    from tests.null_gpu.programs.layers import Layers, calls_of_a_pass

    config = load_config(request["config"], request["overrides"])
    curriculum = Curriculum.from_config(config)
    stage = curriculum.stages[0]
    passes = stage.num_microbatches
    with rank_0(config) as platform:
        engine = Engine(config, curriculum, platform, initial_weights=False)
        [model] = engine.chunks

        def step() -> None:
            engine.train_step(same_batches(stage), stage)

        step()  # builds what is built once: the optimizer's state, Triton's kernels
        calls = calls_of_a_pass(model, step, passes)
        layers = Layers(calls, platform.device)

        def layers_alone() -> None:
            for _ in range(passes):
                with get_fp8_context(model.config):
                    layers.pass_once()

        layers_alone()
        return {
            "tokens": stage.micro_batch_size * stage.seq_length,
            "passes": passes,
            "calls": len(calls),
            "pass_ms": _fastest(step) / passes,
            "layers_ms": _fastest(layers_alone) / passes if calls else 0.0,
        }


def _fastest(run: Callable[[], None]) -> float:
    """Return milliseconds of CPU, of all threads."""
    found = []
    for _ in range(REPEATS):
        begun = time.process_time()
        run()
        found.append(time.process_time() - begun)
    return 1e3 * min(found)


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))), flush=True)
    # Without what CUDA's libraries do at the end of a process: they would ask a GPU that is none.
    os._exit(0)
