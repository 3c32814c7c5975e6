"""FP8 keys that cannot hold together, and those that can."""

from __future__ import annotations

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError

TENSORWISE = "model.fp8_recipe=tensorwise"
LAST = "model.first_last_layers_bf16=true"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["trainer.precision=32-true"], "model.fp8=hybrid: needs trainer.precision=bf16-mixed, not 32-true"),
        (["model.transformer_engine=false"], "model.fp8=hybrid: needs Transformer Engine"),
        ([TENSORWISE, "model.fp8_amax_history_len=16"], "model.fp8_amax_history_len=16: only delayed scaling has one"),
        ([TENSORWISE, "model.fp8_margin=0"], "model.fp8_margin=0: only delayed"),
        (
            ["model.fp8_recipe=blockwise", "model.fp8_amax_compute_algo=max"],
            "model.fp8_amax_compute_algo=max: .*model.fp8_recipe=blockwise",
        ),
        ([LAST], "model.first_last_layers_bf16=true: .*set model.fp8_recipe=tensorwise or blockwise"),
        (
            [TENSORWISE, LAST, "model.num_layers_at_start_in_bf16=13", "model.pipeline_model_parallel_size=2"],
            "model.num_layers_at_start_in_bf16=13: a pipeline rank has 12 layers.*use 0 to 12",
        ),
        (
            [TENSORWISE, LAST, "model.num_layers_at_start_in_bf16=12", "model.num_layers_at_end_in_bf16=12"],
            "model.num_layers_at_start_in_bf16=12: .*no layer of 24 is left",
        ),
        (["model.ffn_hidden_size=6904"], "model.ffn_hidden_size=6904: makes a matrix of 6904 .*use a multiple of 16,"),
        (
            ["model.ffn_hidden_size=6928", "model.tensor_model_parallel_size=2"],
            "model.ffn_hidden_size=6928: makes a matrix of 3464 .*use a multiple of 32,",
        ),
        (["model.hidden_size=2568", "model.kv_channels=80"], "model.hidden_size=2568: makes"),
        (["model.kv_channels=66", "model.num_attention_heads=4", "model.num_query_groups=4"], "num_attention_heads=4"),
        (
            ["curriculum.stages.stage1.encoder_seq_length=24", "model.micro_batch_size=1"],
            "curriculum.stages.stage1.encoder_seq_length=24: makes a matrix of 24 .*use a multiple of 16,",
        ),
        (
            ["model.encoder_seq_length=5000", "model.global_batch_tokens=1_200_000", "model.micro_batch_size=5"],
            "model.encoder_seq_length=5000: makes a matrix of 25000 .*use a multiple of 16,",
        ),
    ],
)
def test_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as refused:
        load_config("danube_1_8b", overrides)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "overrides",
    [
        [],
        ["model.fp8_amax_history_len=16", "model.fp8_amax_compute_algo=most_recent", "model.fp8_margin=1"],
        ["model.fp8=e4m3", "model.fp8_recipe=blockwise"],
        ["model.tensor_model_parallel_size=8"],
        [TENSORWISE, LAST, "model.num_layers_at_start_in_bf16=2"],
        ["curriculum.stages.stage1.encoder_seq_length=24", "model.micro_batch_size=2"],
        ["model.fp8=null", "model.ffn_hidden_size=6904", LAST, "model.transformer_engine=false"],
    ],
)
def test_accepted(overrides: list[str]) -> None:
    load_config("danube_1_8b", overrides)


@pytest.mark.parametrize("recipe", ["danube_rehearsal", "danube2_rehearsal"])
def test_a_laptop_has_no_fp8(recipe: str) -> None:
    assert load_config(recipe).model.fp8 is None
