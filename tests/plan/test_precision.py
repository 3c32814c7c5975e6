"""What the plan says that each linear runs in. `tests/model/test_transformer_engine.py` compares it with what runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from subprocess import CompletedProcess

from custom_modules.config.load import load_config
from custom_modules.plan.precision import linear_precisions

MIXED = ["model.fp8_recipe=tensorwise", "model.first_last_layers_bf16=true"]


def test_every_linear_is_listed_once() -> None:
    for overrides in ([], MIXED, ["model.fp8=null"], ["model.num_layers=1"]):
        config = load_config("danube_1_8b", overrides)
        names = [name for row in linear_precisions(config) for name in row.names]
        assert len(names) == len(set(names)) == 2 + 4 * config.model.num_layers


def test_the_plan_prints_them(danube: Callable[..., CompletedProcess[str]]) -> None:
    done = danube("plan", "--config-name", "danube_1_8b", *MIXED)
    lines = done.stdout.partition("Precision of the linears\n")[2].partition("\n\n")[0].splitlines()
    inner = "linear_qkv, linear_proj, linear_fc1, linear_fc2: "
    assert [line.split(maxsplit=3) for line in lines] == [
        ["outside", "the", "layers", "word_embeddings: bf16"],
        ["layer", "0", *f"{inner}bf16".split(maxsplit=1)],
        ["layers", "1-22", *f"{inner}FP8 (e4m3, gradients e5m2; tensorwise scaling)".split(maxsplit=1)],
        ["layer", "23", *f"{inner}bf16".split(maxsplit=1)],
        ["outside", "the", "layers", "output_layer: bf16"],
    ]


def test_and_so_does_its_json(danube: Callable[..., CompletedProcess[str]]) -> None:
    done = danube("plan", "--config-name", "danube_1_8b", "--json", "model.fp8=e4m3")
    embedding, layers, head = json.loads(done.stdout)["linears"]
    assert (embedding["precision"], head["precision"]) == ("bf16", "bf16")
    assert (embedding["linears"], head["linears"]) == (["embedding.word_embeddings"], ["output_layer"])
    assert layers == {
        "first_layer": 0,
        "last_layer": 23,
        "linears": [
            *["self_attention.linear_qkv", "self_attention.linear_proj", "mlp.linear_fc1", "mlp.linear_fc2"],
        ],
        "precision": "fp8",
        "forward": "e4m3",
        "backward": "e4m3",
        "recipe": "delayed",
    }
