"""Engines trained beside the fake Transformer Engine, as the program does it and otherwise; prints one JSON object."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

from custom_modules.config.load import load_config
from custom_modules.platform import Platform, megatron

megatron.GPU_PACKAGES = ()
megatron.import_megatron()

from custom_modules.config.schema import Config  # noqa: E402
from custom_modules.config.stages import Curriculum  # noqa: E402
from custom_modules.data.batches import micro_batches  # noqa: E402
from custom_modules.data.random_tokens import RandomTokens  # noqa: E402
from custom_modules.platform.kernels import Kernels  # noqa: E402
from custom_modules.training.engine import Engine  # noqa: E402

STEPS = 3
KERNELS = Kernels(transformer_engine=True, fused_elementwise=True)


def main() -> None:
    """``{NAME: OVERRIDES}`` is the only argument; gives ``{NAME: {WAY: [[LOSS, GRADIENT'S NORM], ...]}}``."""
    found: dict[str, Any] = {}
    for name, overrides in json.loads(sys.argv[1]).items():
        config = load_config("danube_rehearsal", overrides)
        local = Platform.detect(load_config("danube_rehearsal", [*overrides, "model.fp8=null"]))
        platform = Platform(local.accelerator, local.world, KERNELS)
        with platform.running(config):
            found[name] = {way: train(config, platform, change) for way, change in WAYS.items()}
    print(json.dumps(found))


def train(config: Config, platform: Platform, change: Callable[[Engine], None]) -> list[list[float]]:
    """Some steps of several micro-batches, each with an evaluation behind it."""
    curriculum = Curriculum.from_config(config)
    engine, stage = Engine(config, curriculum, platform), curriculum.stages[0]
    assert stage.num_microbatches > 1
    change(engine)
    vocabulary = config.model.vocab_size
    tokens = RandomTokens(stage.seq_length, vocabulary)
    batches = micro_batches(tokens, stage, 0, stage.num_samples, 0, vocabulary)
    done = []
    for _ in range(STEPS):
        result = engine.train_step(batches, stage)
        done.append([result.loss, result.grad_norm])
        engine.evaluate(batches, stage, 1)
    return done


def as_it_is(engine: Engine) -> None:
    """Change nothing."""


def keep_no_copy(engine: Engine) -> None:
    """Have a weight's FP8 copy made for every micro-batch."""
    for module in engine.chunks[0].modules():
        module.disable_parameter_transpose_cache = True


def never_first(engine: Engine) -> None:
    """Begin no step with a first micro-batch."""
    for model in engine.models:
        model.set_is_first_microbatch = lambda: None


def always_first(engine: Engine) -> None:
    """Begin a step with every micro-batch."""
    for model in engine.models:
        model.register_forward_pre_hook(lambda module, _: module.set_is_first_microbatch())


WAYS = {"as it is": as_it_is, "no copy": keep_no_copy, "never first": never_first, "always first": always_first}

if __name__ == "__main__":
    main()
