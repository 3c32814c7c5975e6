"""Transformer Engine's layers against megatron-core's local ones, on the CPU.

The real Transformer Engine needs CUDA: a fake of its public interface (``tests/fake_transformer_engine``) takes its
place. So this shows what megatron-core and this project make of Transformer Engine: which module a layer gets, with
which arguments, which of them run inside `fp8_autocast` and by which recipe, that weights have the same names and
values, and that nothing is lost where a norm is fused into a linear. It shows nothing of the real kernels.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.plan.precision import linear_precisions
from tests.fake_transformer_engine.start import FOLDER, packages
from tests.model.test_gpt_model import SMALL
from tests.support.tiny import TINY

BF16 = [*TINY, "trainer.devices=1", "model.num_layers=4", "trainer.precision=bf16-mixed"]
VARIANTS = {
    "local": BF16,
    "bf16": BF16,
    "fp32": [*BF16, "trainer.precision=32-true"],
    "hybrid": [*BF16, "model.fp8=hybrid"],
    "e4m3": [
        *[*BF16, "model.fp8=e4m3", "model.fp8_margin=1", "model.fp8_amax_history_len=4"],
        "model.fp8_amax_compute_algo=most_recent",
    ],
    "blockwise": [
        *[*BF16, "model.fp8=e4m3", "model.fp8_recipe=blockwise"],
        *["model.hidden_size=128", "model.ffn_hidden_size=128", "model.num_query_groups=4", "model.micro_batch_size=4"],
    ],
    "first and last": [
        *[*BF16, "model.fp8=hybrid", "model.fp8_recipe=tensorwise", "model.first_last_layers_bf16=true"],
        "model.num_layers_at_start_in_bf16=2",
    ],
}
PADDED = {
    f"{name}{', in chunks' if chunk else ''}": [*VARIANTS[name], "model.vocab_size=300", *chunk]
    for name in ("bf16", "hybrid", "blockwise")
    for chunk in ([], ["model.cross_entropy_chunk_size=24"])
}
ATTENTION = {
    "bf16": BF16,
    "fp32": VARIANTS["fp32"],
    "fp32 with it": [*VARIANTS["fp32"], "model.transformer_engine=true"],
    "hybrid": VARIANTS["hybrid"],
    "a head of 12": [*BF16, "model.kv_channels=12"],
    "a head of 264": [*BF16, "model.kv_channels=264"],
}
HALF = [*SMALL, "trainer.precision=bf16-mixed"]
DOCUMENTS = {
    "window": [*HALF, "model.sliding_window=24"],
    "no window": [*HALF, "model.sliding_window=null"],
    "alibi": [*HALF, "model.architecture=lokilm", "model.sliding_window=null", "model.kv_channels=16"],
    "fp32": [*SMALL, "trainer.precision=32-true"],
    "a head of 12": [*HALF, "model.kv_channels=12"],
}
ALIBI = [*SMALL, "model.architecture=lokilm", "model.sliding_window=null", "model.kv_channels=16"]
RECIPES = {"delayed": "DelayedScaling", "tensorwise": "Float8CurrentScaling", "blockwise": "Float8BlockScaling"}


@pytest.fixture(scope="module")
def examined() -> dict[str, Any]:
    asked = {"logits": SMALL, "alibi": ALIBI, "precision": VARIANTS, "padding": PADDED, "attention": ATTENTION}
    return examine("examine.py", {**asked, "documents": DOCUMENTS})


def examine(program: str, asked: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, str(FOLDER / program), json.dumps(asked)]
    done = subprocess.run(command, env=packages(), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_initial_weights_are_the_same(examined: dict[str, Any]) -> None:
    assert examined["logits"]["same_initial_weights"]


@pytest.mark.slow
def test_logits_are_the_same(examined: dict[str, Any]) -> None:
    """Below, at and beyond the window of 96, with four queries a group."""
    assert examined["logits"]["largest"] > 1
    assert len(examined["logits"]["differences"]) == 5
    assert max(examined["logits"]["differences"].values()) <= 1e-5


@pytest.mark.slow
def test_only_local_layers_are_built_on_the_meta_device(examined: dict[str, Any]) -> None:
    assert examined["meta"] == {"local": "meta", "fused": "_initialize_affine_weight_cpu"}


@pytest.mark.slow
def test_alibi_is_folded_in_bf16_and_a_mask_in_fp32(examined: dict[str, Any]) -> None:
    """Heads of 16 and the 8 further features, at the scale of 16."""
    found = examined["alibi"]
    assert found["attention"] == ["AlibiAttention", "AlibiAttention", "AlibiAttention", "TEAlibiAttention"]
    assert found["kv_channels"] == [24, 24]
    assert found["softmax_scale"] == 0.25
    assert found["spread"] > 0.3
    in_fp32, local, engine = found["errors"]
    assert in_fp32 <= 1e-6
    assert engine <= 1.2 * local < 0.05 * found["spread"]


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_every_linear_runs_in_the_precision_that_the_plan_prints(variant: str, examined: dict[str, Any]) -> None:
    config = load_config("danube_rehearsal", VARIANTS[variant])
    ran = examined["precision"][variant]
    assert len(ran) == 2 + 4 * 4
    planned = {name: row for row in linear_precisions(config) for name in row.names}
    assert planned.keys() == ran.keys()
    for name, (precision, fp8_format, recipe, settings) in ran.items():
        row = planned[name]
        assert precision == row.precision, name
        if precision == "fp8":
            assert fp8_format == {"e5m2": "HYBRID", "e4m3": "E4M3"}[str(row.backward)], name
            assert recipe == RECIPES[str(row.recipe)], name
            if row.recipe == "delayed":
                model = config.model
                given = (model.fp8_margin, model.fp8_amax_history_len, model.fp8_amax_compute_algo)
                assert settings == [value or default for value, default in zip(given, (0, 1024, "max"), strict=True)]


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "in_fp8"), [("hybrid", 16), ("first and last", 4), ("bf16", 0)])
def test_embedding_and_head_are_never_in_fp8(variant: str, in_fp8: int, examined: dict[str, Any]) -> None:
    ran = examined["precision"][variant]
    assert [name for name in ("embedding.word_embeddings", "output_layer") if ran[name][0] != "bf16"] == []
    assert sum(precision == "fp8" for precision, *_ in ran.values()) == in_fp8


@pytest.mark.slow
@pytest.mark.parametrize("variant", PADDED)
def test_padding_of_the_vocabulary_has_no_probability_and_no_gradient(variant: str, examined: dict[str, Any]) -> None:
    found = examined["padding"][variant]
    assert found["rows"] == 84
    assert (found["largest_probability"], found["largest_gradient"]) == (0, 0)
    assert found["real_gradient"] > 0 and found["finite"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTENTION)
def test_no_run_gets_an_attention_that_keeps_all_scores_unless_it_asks_for_it(
    name: str, examined: dict[str, Any]
) -> None:
    found = examined["attention"][name]
    asked = name == "fp32 with it"
    fused = name in ("bf16", "hybrid")
    assert found["transformer_engine"] == (asked or fused)
    assert found["backends"] == (["FusedAttention"] if fused else ["UnfusedDotProductAttention"] if asked else [])
    assert len(found["notes"]) == (not found["transformer_engine"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["window", "no window", "alibi"])
def test_packed_documents_do_not_see_each_other(name: str, examined: dict[str, Any]) -> None:
    found = examined["documents"][name]
    assert found["attention"] == ["TEAlibiAttention" if name == "alibi" else "TEDotProductAttention", "FusedAttention"]
    assert found["logits"] <= 1e-3
    assert found["gradients"] <= 0.02


@pytest.mark.slow
@pytest.mark.parametrize(("name", "said"), [("fp32", "float32, head dim 8"), ("a head of 12", "bfloat16, head dim 12")])
def test_packed_documents_that_no_fused_kernel_attends_to_are_refused(
    name: str, said: str, examined: dict[str, Any]
) -> None:
    found = examined["documents"][name]
    assert found.startswith("data.reset_attention_mask=true: Transformer Engine has no fused attention")
    assert said in found and "set model.transformer_engine=false" in found


@pytest.fixture(scope="module")
def trained() -> dict[str, Any]:
    tensorwise = [*VARIANTS["hybrid"], "model.fp8_recipe=tensorwise"]
    variants = {name: VARIANTS[name] for name in ("hybrid", "blockwise", "bf16")}
    return examine("micro_batches.py", {**variants, "tensorwise": tensorwise})


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["hybrid", "tensorwise", "blockwise"])
def test_fp8_weights_follow_their_weights_and_gradients_add_up(variant: str, trained: dict[str, Any]) -> None:
    """A step's first micro-batch, and no other, makes FP8 copies anew and empties the weights' gradients.

    With delayed scaling a copy keeps the scale that it was made with, so that it makes a difference.
    """
    found = trained[variant]
    assert (found["as it is"] == found["no copy"]) == (variant != "hybrid")
    for way in ("never first", "always first"):
        assert found[way] != found["as it is"], way
    assert all(math.isfinite(number) for step in found["as it is"] for number in step)


@pytest.mark.slow
def test_bf16_has_no_copies(trained: dict[str, Any]) -> None:
    """Only the first micro-batch of a run is one: the gradients of the others are added to what was emptied before."""
    assert trained["bf16"]["as it is"] == trained["bf16"]["never first"] == trained["bf16"]["no copy"]
