"""What a stage recomputes: its own keys or the model's, and those that nothing reads are refused."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.recompute import Recompute
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError

CHECKPOINT = "activations_checkpoint"
FULL, SELECTIVE = (f"model.{CHECKPOINT}_granularity={name}" for name in ("full", "selective"))
LAST = "curriculum.stages.stage4"


@pytest.mark.parametrize(
    ("overrides", "first", "last"),
    [
        ([], Recompute(), Recompute()),
        ([FULL], Recompute("full", "uniform", 1), Recompute("full", "uniform", 1)),
        ([f"{LAST}.{CHECKPOINT}_granularity=full"], Recompute(), Recompute("full", "uniform", 1)),
        (
            [FULL, f"{LAST}.{CHECKPOINT}_method=block", f"{LAST}.{CHECKPOINT}_num_layers=5"],
            Recompute("full", "uniform", 1),
            Recompute("full", "block", 5),
        ),
        (
            [SELECTIVE, f"{LAST}.recompute_modules=[core_attn,mlp]"],
            Recompute("selective", modules=("mlp",)),
            Recompute("selective", modules=("core_attn", "mlp")),
        ),
        (
            [FULL, f"model.{CHECKPOINT}_num_layers=4", f"{LAST}.{CHECKPOINT}_granularity=selective"],
            Recompute("full", "uniform", 4),
            Recompute("selective", modules=("mlp",)),
        ),
    ],
)
def test_a_stages_own_keys_come_first(overrides: list[str], first: Recompute, last: Recompute) -> None:
    stages = Curriculum.from_config(load_config("danube_1_8b", overrides)).stages
    assert (stages[0].recompute, stages[3].recompute) == (first, last)


@pytest.mark.parametrize(
    ("overrides", "names", "works"),
    [
        ([f"model.{CHECKPOINT}_method=block"], f"model.{CHECKPOINT}_method=block", f"{CHECKPOINT}_granularity=full"),
        ([SELECTIVE, f"model.{CHECKPOINT}_num_layers=2"], f"model.{CHECKPOINT}_num_layers=2", "_num_layers=null"),
        ([f"{LAST}.recompute_modules=[mlp]"], f"{LAST}.recompute_modules=[mlp]", f"{LAST}.{CHECKPOINT}_granularity"),
        ([FULL, f"model.{CHECKPOINT}_num_layers=5"], f"model.{CHECKPOINT}_num_layers=5", "divisor of 24"),
        (
            [FULL, f"model.{CHECKPOINT}_num_layers=8", "model.pipeline_model_parallel_size=2"],
            f"model.{CHECKPOINT}_num_layers=8",
            "divisor of 12",
        ),
        (
            [FULL, f"{LAST}.{CHECKPOINT}_method=block"],
            f"model.{CHECKPOINT}_num_layers=null",
            "how many of its 24",
        ),
        (
            [FULL, f"model.{CHECKPOINT}_method=block", f"model.{CHECKPOINT}_num_layers=25"],
            f"model.{CHECKPOINT}_num_layers=25",
            "at most 24",
        ),
        ([SELECTIVE, "model.recompute_modules=[layernorm]"], "model.recompute_modules.0=layernorm", "'core_attn'"),
        (["model.cross_entropy_chunk_size=0"], "model.cross_entropy_chunk_size=0", "greater than 0"),
    ],
)
def test_refused(overrides: list[str], names: str, works: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("danube_1_8b", overrides)
    message = str(caught.value)
    assert "\n" not in message
    assert names in message
    assert works in message
