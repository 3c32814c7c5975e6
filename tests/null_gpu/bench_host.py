"""Milliseconds of CPU that a pass takes of the host, by recipe: what the program costs beside the GPU's own time.

`python -m tests.null_gpu.bench_host [NAME]`: an environment of tests/null_gpu/environments.py; none: the first.
"""

from __future__ import annotations

import os
import sys

from tests.null_gpu.environments import ENVIRONMENTS
from tests.null_gpu.install.record import unfinished
from tests.null_gpu.install.steps import STEPS
from tests.null_gpu.run import NO_LARGE_COPIES, run_program

TOKENS = 16_384
"""The tokens of a pass, as in Danube-1.8B's recipe."""
PASSES = 9
"""The passes of a step, as in Danube-1.8B's on 8 GPUs: it shares out what is done once a step."""
TOKENS_PER_SECOND = 52_000
"""The speed of an H100 that training of this size may reach."""
GOAL_MS = TOKENS / TOKENS_PER_SECOND * 1000 / 4
"""A quarter of a pass: above it the host may make a GPU wait."""
RECIPES = {
    "bf16, megatron-core's layers": ["model.fp8=null", "model.transformer_engine=false"],
    "bf16": ["model.fp8=null"],
    "FP8, delayed": ["model.fp8_recipe=delayed"],
    "FP8, tensorwise": ["model.fp8_recipe=tensorwise"],
    "FP8, blockwise": ["model.fp8_recipe=blockwise"],
}


def main(names: list[str]) -> int:
    environment = ENVIRONMENTS[names[0] if names else next(iter(ENVIRONMENTS))]
    if missing := unfinished(environment, STEPS):
        print(f"{environment.folder}: not made ({missing[0].name}); run make test-null-gpu first", file=sys.stderr)
        return 1
    print(f"{environment}: ms of CPU a pass of {TOKENS:,} tokens, {PASSES} passes a step")
    print(f"{'':<30}{'a pass':>10}{'TE alone':>10}{'the rest':>10}{'of the goal':>13}{'the load':>12}")
    for recipe, overrides in RECIPES.items():
        batch = f"model.global_batch_tokens={PASSES * TOKENS}"
        request = {
            "config": "danube_1_8b",
            "overrides": ["trainer.devices=1", "trainer.accelerator=gpu", batch, *overrides],
        }
        found = run_program(environment, "host_time", request, variables=NO_LARGE_COPIES)
        whole, layers = found["pass_ms"], found["layers_ms"]
        rest, share, load = whole - layers, whole / GOAL_MS, os.getloadavg()[0]
        print(f"{recipe:<30}{whole:>10.1f}{layers:>10.1f}{rest:>10.1f}{share:>13.0%}{load:>12.0f}", flush=True)
    print(
        f"the goal: {GOAL_MS:.0f} ms, a quarter of the pass at {TOKENS_PER_SECOND:,} tokens/s. TE alone: the same "
        "calls of Transformer Engine's layers, forward and back, with nothing between them."
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
