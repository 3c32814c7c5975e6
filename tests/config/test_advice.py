"""What a refusal of precision, gradients, FSDP or parallel sizes says to set is accepted, each by itself."""

from __future__ import annotations

import re

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError

CONTEXT, TENSOR, PIPELINE, CHUNKS = (
    f"model.{name}_size"
    for name in (
        "context_parallel",
        "tensor_model_parallel",
        "pipeline_model_parallel",
        "virtual_pipeline_model_parallel",
    )
)
BF16, FP32 = ["model.fp8=null"], ["model.fp8=null", "trainer.precision=32-true"]
FSDP = ["model.fsdp=true", "model.optim.grad_sync_dtype=bf16"]
ODD_HEAD = ["model.kv_channels=84"]

SETTINGS = re.compile(r"(?:set|or) ((?:model|trainer)\.[\w.]+)=([\w-]+)|(?:set|change) (?:that|those) to (\w+)")

REFUSED = [
    (["trainer.precision=32-true"], 1),
    (["model.transformer_engine=false"], 2),
    ([*FP32, "model.optim.grad_sync_dtype=bf16"], 1),
    (["model.fsdp=true"], 2),
    ([*FSDP, f"{TENSOR}=2"], 2),
    ([*FSDP, f"{PIPELINE}=2"], 2),
    ([*FSDP, "model.optim.name=distributed_fused_adam"], 2),
    ([*FSDP, "trainer.devices=9"], 1),
    (["model.sequence_parallel=true"], 1),
    (["model.sequence_parallel=true", f"{TENSOR}=2", "model.encoder_seq_length=9"], 1),
    ([f"{CHUNKS}=2"], 1),
    ([f"{PIPELINE}=2", f"{CHUNKS}=2", "model.overlap_p2p_comm=false"], 1),
    (["model.fp8_recipe=tensorwise", "model.fp8_margin=0"], 2),
    (["model.first_last_layers_bf16=true"], 2),
    (["model.fp8_recipe=tensorwise", "model.num_layers_at_end_in_bf16=2"], 1),
    (["model.ffn_hidden_size=6904"], 1),
    (["model.fp8_recipe=blockwise", f"{TENSOR}=4"], 1),
    ([*FP32, f"{CONTEXT}=2", "model.transformer_engine=true"], 2),
    ([*BF16, *ODD_HEAD, f"{CONTEXT}=2", "model.transformer_engine=true"], 2),
    ([*ODD_HEAD, f"{CONTEXT}=2"], 1),
]


@pytest.mark.parametrize(("overrides", "count"), REFUSED)
def test_each_setting_that_a_refusal_names_is_accepted(overrides: list[str], count: int) -> None:
    with pytest.raises(UserError) as refused:
        load_config("danube_1_8b", overrides)
    message = str(refused.value)
    fault, _, advice = message.rpartition("; ")
    found = list(SETTINGS.finditer(advice))
    assert len(found) == count, message
    for match in found:
        key, value, same = match.groups()
        if key is None:
            key, value = re.findall(r"((?:model|trainer)\.[\w.]+)=", fault)[-1], same
        load_config("danube_1_8b", [*overrides, f"{key}={value}"])
