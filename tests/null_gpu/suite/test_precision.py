"""The types of every matrix product of a step are those of the table that `danube plan` prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.plan.precision import LinearPrecision, linear_precisions
from tests.null_gpu.environments import Environment
from tests.null_gpu.products import Product, products_by_linear
from tests.null_gpu.run import NO_LARGE_COPIES, run_program

RECIPES = {
    "bf16": ["model.fp8=null"],
    "delayed": ["model.fp8_recipe=delayed"],
    "delayed_e4m3": ["model.fp8_recipe=delayed", "model.fp8=e4m3"],
    "tensorwise": ["model.fp8_recipe=tensorwise"],
    "tensorwise_first_last": ["model.fp8_recipe=tensorwise", "model.first_last_layers_bf16=true"],
    "blockwise": ["model.fp8_recipe=blockwise"],
    "blockwise_e4m3": ["model.fp8_recipe=blockwise", "model.fp8=e4m3"],
}
EMBEDDING = "embedding.word_embeddings"
"""Looked up, not multiplied."""


def expected(row: LinearPrecision) -> tuple[set[Product], set[Product]]:
    """Return the kinds of products forward and back: gradients of inputs in bf16, of weights added up in fp32."""
    if row.precision != "fp8":
        pair = (row.precision, row.precision)
        return {Product(pair, "bf16")}, {Product(pair, "bf16"), Product(pair, "fp32")}
    assert row.forward is not None
    assert row.backward is not None
    first, second = sorted((row.forward, row.backward))
    back = (first, second)
    return {Product((row.forward, row.forward), "bf16")}, {Product(back, "bf16"), Product(back, "fp32")}


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_product(environment: Environment, recipe: str, tmp_path: Path) -> None:
    overrides = [
        "trainer.devices=1",
        "trainer.accelerator=gpu",
        "model.num_layers=4",
        "model.global_batch_tokens=32768",
        *RECIPES[recipe],
    ]
    request: dict[str, Any] = {
        "config": "danube_1_8b",
        "overrides": overrides,
        "stages": ["stage1"],
        "steps": 1,
        "linears": True,
    }
    variables = {"NULL_GPU_TRACE": str(tmp_path / "trace"), **NO_LARGE_COPIES}
    found = run_program(environment, "rank", request, variables=variables)
    products = products_by_linear(tmp_path / f"trace.{found['pid']}")
    names = set()
    for row in linear_precisions(load_config("danube_1_8b", overrides)):
        for name in set(row.names) - {EMBEDDING}:
            names.add(name)
            forward, backward = expected(row)
            assert products[name, False] == forward, (name, row)
            if name == "output_layer":
                # The head's gradient is in bf16 until megatron-core adds it to what it keeps.
                backward = {Product(product.operands, "bf16") for product in backward}
            assert products[name, True] == backward, (name, row)
    assert {name for name, _ in products} == names
