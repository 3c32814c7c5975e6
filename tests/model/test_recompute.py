"""Recomputed activations are the activations: nothing that is trained differs in a bit."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from tests.support.runs import assert_same_run

GRANULARITY = "activations_checkpoint_granularity"
FULL, SELECTIVE = (f"model.{GRANULARITY}={name}" for name in ("full", "selective"))
BOTH_MODULES = "model.recompute_modules=[core_attn,mlp]"
BLOCK = ["model.activations_checkpoint_method=block", "model.activations_checkpoint_num_layers=1"]
SETTINGS = {
    "full": [FULL],
    "both layers in one": [FULL, "model.activations_checkpoint_num_layers=2"],
    "block": [FULL, *BLOCK],
    "selective": [SELECTIVE, BOTH_MODULES],
    "another in each stage": [
        f"curriculum.stages.stage1.{GRANULARITY}=selective",
        f"curriculum.stages.stage2.{GRANULARITY}=full",
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("precision", [pytest.param("32-true", marks=pytest.mark.slow), "bf16-mixed"])
def test_losses_gradients_and_weights_are_the_same_bit_for_bit(single_process: None, precision: str) -> None:
    from tests.support.engines import small

    plain = small(f"trainer.precision={precision}")
    expected, weights = plain.train(2), plain.weights()
    for name, overrides in SETTINGS.items():
        other = small(f"trainer.precision={precision}", *overrides)
        assert other.train(2) == expected, name
        for key, weight in other.weights().items():
            assert torch.equal(weight, weights[key]), (name, key)


def test_every_stage_recomputes_what_it_says(single_process: None) -> None:
    """One model does so whatever the stage before did: its layers are called as often in a step."""
    from tests.support.engines import small

    own = [f"curriculum.stages.stage1.{GRANULARITY}=full", f"curriculum.stages.stage2.{GRANULARITY}=selective"]
    model = small(*own)
    layer = model.engine.chunks[0].decoder.layers[0]
    calls = {"layer": 0, "mlp": 0}
    for name, module in (("layer", layer), ("mlp", layer.mlp)):
        module.register_forward_hook(lambda *_, name=name: calls.update({name: calls[name] + 1}))
    for stage, layers, mlps in ((0, 2, 2), (1, 1, 2), (0, 2, 2)):
        calls.update(layer=0, mlp=0)
        model.engine.train_step(iter(model.batches(model.stages[stage])), model.stages[stage])
        passes = model.stages[stage].num_microbatches
        assert calls == {"layer": layers * passes, "mlp": mlps * passes}


@pytest.mark.slow
def test_with_tensor_and_pipeline_parallelism(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    sizes = [f"model.{name}_model_parallel_size=2" for name in ("tensor", "pipeline")]
    runs = {"plain": [], **{name: SETTINGS[name] for name in ("full", "selective")}}
    for name, overrides in runs.items():
        done = danube(*tiny(name, "trainer.devices=4", *sizes, *overrides), timeout=300)
        assert done.returncode == 0, done.stderr
    for name in ("full", "selective"):
        assert_same_run(tmp_path / "plain", tmp_path / name)
