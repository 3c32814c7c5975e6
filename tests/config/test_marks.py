"""What every key of the schema says of itself, against lists that are written out here."""

from __future__ import annotations

import re

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.marks import Behaviour, known_keys, marked, may_change, parts_of
from custom_modules.config.model_parts import ArchitectureConfig, OptimConfig
from custom_modules.config.schema import BEHAVIOUR, MODEL_SHAPE, ONE_DEVICE, Config, ModelConfig, RunConfig, TextConfig
from custom_modules.text import flatten

AS_A_PATTERN = re.compile(
    r"""trainer\.(?!precision)
    | exp_manager\. | ^name$
    | curriculum\.stage$
    | .*micro_batch_(size|tokens)$
    | .*\.(activations_checkpoint_\w+|recompute_modules|cross_entropy_chunk_size)$
    | model\.(tensor|pipeline|virtual_pipeline)_model_parallel_size$
    | model\.(sequence_parallel|context_parallel_size|cp_comm_type|overlap_p2p_comm|fsdp)$
    | model\.(transformer_engine|gc_interval)$
    | model\.optim\.overlap_
    | model\.tokenizer\. | data\.(?!reset_|eod_mask)
    | model\.restore_from_path$
    | .*\.reported_mix\. | reported\.
    | distillation\.(tries|teachers\..*\.parameters)$
    """,
    re.VERBOSE,
)
"""What a resumed run may change, by the keys' names."""

MAPPINGS = ("mix", "reported_mix")

KEPT = {
    "objective",
    "trainer.precision",
    *(f"curriculum.stages.stage1.{key}" for key in ("tokens", "encoder_seq_length", "global_batch_tokens", "mix.web")),
    *(f"model.{key}" for key in ("architecture", "position_embedding_type", "normalization", "activation")),
    *(f"model.{key}" for key in ("share_embeddings_and_output_weights", "num_layers", "hidden_size", "sliding_window")),
    *(f"model.{key}" for key in ("ffn_hidden_size", "num_attention_heads", "num_query_groups", "kv_channels")),
    *(f"model.{key}" for key in ("vocab_size", "make_vocab_size_divisible_by", "layernorm_epsilon", "rotary_base")),
    *(f"model.{key}" for key in ("init_method_std", "encoder_seq_length", "global_batch_tokens", "seed")),
    "model.rampup_batch_tokens",
    *(f"distillation.{key}" for key in ("every_n_batches", "top_k", "minimum_over", "prefix_tokens")),
    "distillation.teachers.<teacher>.targets",
    *(f"data.{key}" for key in ("reset_attention_mask", "reset_position_ids", "eod_mask_loss")),
    *(f"model.{key}" for key in ("fp8", "fp8_recipe", "fp8_margin", "fp8_amax_history_len", "fp8_amax_compute_algo")),
    *(f"model.{key}_bf16" for key in ("first_last_layers", "num_layers_at_start_in", "num_layers_at_end_in")),
    *(f"model.optim.{key}" for key in ("name", "lr", "weight_decay", "betas", "eps", "clip_grad", "grad_sync_dtype")),
    *(f"model.optim.sched.{key}" for key in ("name", "warmup_tokens", "min_lr")),
}
"""Every key that a resumed run must keep. A new key of the schema is one of them, or says that it is not."""


def written() -> list[str]:
    """Every key of the schema as a flattened config has it."""
    keys = [key.replace("<stage>", "stage1") for key in known_keys(Config)]
    return [f"{key}.web" if key.rpartition(".")[2] in MAPPINGS else key for key in keys]


def test_what_a_resumed_run_must_keep() -> None:
    assert {key for key in written() if not may_change(Config, key)} == KEPT


@pytest.mark.parametrize("key", written())
def test_marks_say_what_the_pattern_says(key: str) -> None:
    assert may_change(Config, key) == bool(AS_A_PATTERN.match(key))


@pytest.mark.parametrize("name", ["danube_1_8b", "danube2", "danube2_rehearsal"])
def test_every_key_of_a_recipe_has_its_say(name: str) -> None:
    for key, _ in flatten(load_config(name).model_dump(mode="json")):
        assert may_change(Config, key) == bool(AS_A_PATTERN.match(key)), key


def test_shape_behaviour_and_devices() -> None:
    assert set(MODEL_SHAPE) == {
        *("architecture", "share_embeddings_and_output_weights"),
        *("num_layers", "hidden_size", "ffn_hidden_size"),
        *("num_attention_heads", "num_query_groups", "head_dim", "vocab_size"),
    }
    assert set(BEHAVIOUR) == {
        *("sliding_window", "rotary_base", "layernorm_epsilon"),
        *("position_embedding_type", "normalization", "activation"),
    }
    assert ONE_DEVICE == {
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "virtual_pipeline_model_parallel_size": None,
        "sequence_parallel": False,
        "context_parallel_size": 1,
        "fsdp": False,
    }
    parallel = load_config("danube_1_8b", ["model.tensor_model_parallel_size=2"]).model
    assert parallel.model_copy(update=ONE_DEVICE).model_parallel_size == 1


def test_a_part_brings_its_marks() -> None:
    assert marked(ArchitectureConfig, Behaviour) == marked(ModelConfig, Behaviour)
    assert {RunConfig, ArchitectureConfig, OptimConfig, TextConfig} < set(parts_of(Config))
    assert OptimConfig not in set(parts_of(RunConfig))
