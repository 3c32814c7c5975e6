"""``model.architecture``, and the keys that belong to it: a value is accepted where it can have it, else refused."""

from __future__ import annotations

import pytest

from custom_modules.architecture import ARCHITECTURES
from custom_modules.config.load import load_config, validate, with_defaults
from custom_modules.errors import UserError

OWN = {
    "position_embedding_type": "rope",
    "normalization": "rmsnorm",
    "activation": "swiglu",
    "share_embeddings_and_output_weights": False,
}


@pytest.mark.parametrize("recipe", ["danube_1_8b", "danube_rehearsal", "danube2", "danube2_rehearsal"])
def test_an_architecture_has_values_of_its_own(recipe: str) -> None:
    model = load_config(recipe).model
    assert model.architecture == "danube"
    assert {key: getattr(model, key) for key in OWN} == OWN


@pytest.mark.parametrize(
    "override",
    [
        "model.position_embedding_type=rope",
        "model.normalization=rmsnorm",
        "model.activation=swiglu",
        "model.activation=fast-swiglu",
        "model.share_embeddings_and_output_weights=false",
    ],
)
def test_what_it_has_is_accepted_and_is_the_same_config(override: str) -> None:
    assert load_config("danube_1_8b", [override]) == load_config("danube_1_8b")


@pytest.mark.parametrize(
    ("override", "can"),
    [
        ("model.position_embedding_type=learned_absolute", "rope"),
        ("model.position_embedding_type=none", "rope"),
        ("model.normalization=layernorm", "rmsnorm"),
        ("model.activation=gelu", "swiglu"),
        ("model.share_embeddings_and_output_weights=true", "false"),
        ("model.architecture=llama", "danube"),
    ],
)
def test_what_it_cannot_have_is_refused_by_name(override: str, can: str) -> None:
    with pytest.raises(UserError) as refused:
        load_config("danube_1_8b", [override])
    message = str(refused.value)
    assert message.startswith(f"{override}: ")
    assert can in message
    assert "\n" not in message


LOKI_OWN = {**OWN, "position_embedding_type": "alibi"}


def test_lokilm_has_alibi_and_nothing_else() -> None:
    model = load_config("loki_1_4b").model
    assert model.architecture == "lokilm"
    assert {key: getattr(model, key) for key in LOKI_OWN} == LOKI_OWN
    for override in ("model.position_embedding_type=alibi", "model.activation=fast-swiglu"):
        assert load_config("loki_1_4b", [override]) == load_config("loki_1_4b")
    for override, can in (
        ("model.position_embedding_type=rope", "alibi"),
        ("model.position_embedding_type=none", "alibi"),
        ("model.sliding_window=4096", "model.sliding_window=null"),
        ("model.share_embeddings_and_output_weights=true", "false"),
    ):
        with pytest.raises(UserError, match=f"^{override}: ") as refused:
            load_config("loki_1_4b", [override])
        assert can in str(refused.value) and "\n" not in str(refused.value)


def test_alibis_positions_in_bf16_have_an_end() -> None:
    own = ["curriculum.stages.stage2.encoder_seq_length=131072", "model.global_batch_tokens=2097152"]
    whole = ["model.encoder_seq_length=131072"]
    for overrides, key in ((own, "curriculum.stages.stage2.encoder_seq_length"), (whole, "model.encoder_seq_length")):
        with pytest.raises(UserError, match=f"^{key}=131072: .* up to 65536 apart; .*trainer.precision=32-true$"):
            load_config("loki_1_4b", overrides)
        in_fp32 = ["trainer.precision=32-true", "model.fp8=null", "model.optim.grad_sync_dtype=fp32"]
        load_config("loki_1_4b", [*overrides, *in_fp32, "model.rampup_batch_tokens=null"])
    load_config("loki_1_4b", ["model.encoder_seq_length=65536", "model.rampup_batch_tokens=null"])


def test_a_config_of_before_the_key_is_danubes() -> None:
    plain = load_config("danube_rehearsal").model_dump(mode="json")
    for key in ("architecture", *OWN):
        del plain["model"][key]
    assert validate(with_defaults(plain)) == load_config("danube_rehearsal")


def test_every_entry_of_the_table_has_its_own_name() -> None:
    assert {architecture.name for architecture in ARCHITECTURES.values()} == set(ARCHITECTURES)
    for architecture in ARCHITECTURES.values():
        assert architecture.choices.keys() == OWN.keys()


def test_the_table_is_the_model_that_is_built(single_process: None) -> None:
    """Names, shapes, tensor-parallel axes and rows that pad, against megatron-core's own sharded state dict."""
    from megatron.core.dist_checkpointing.dict_utils import nested_values
    from megatron.core.dist_checkpointing.mapping import ShardedTensor, ShardedTensorFactory

    from custom_modules.model.build import build_model

    config = load_config("danube_rehearsal", ["trainer.devices=1", "model.vocab_size=2000"])
    model = build_model(config, initial_weights=False)
    divided = {
        name for name, parameter in model.named_parameters() if getattr(parameter, "tensor_model_parallel", False)
    }
    built: dict[str, tuple[int, ...]] = {}
    axes: dict[str, int | None] = {}
    for name, entry in model.sharded_state_dict().items():
        for piece in nested_values(entry.build()) if isinstance(entry, ShardedTensorFactory) else [entry]:
            if isinstance(piece, ShardedTensor):
                built[piece.key] = piece.global_shape[piece.prepend_axis_num :]
                parameter = model.get_parameter(name)
                axes[piece.key] = parameter.partition_dim if name in divided else None
    table = {weight.name: weight for weight in config.model.weights}
    assert {name: weight.padded_shape for name, weight in table.items()} == built
    assert {name: weight.tensor_axis for name, weight in table.items()} == axes
