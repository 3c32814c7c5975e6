"""NeMo 2's keys of the model's config (``model.config``): megatron-core's names, of which most are NeMo 1's too."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from custom_modules.config.nemo.fates import LENGTHS, Fate, NemoKey, Outcome, anyway, renamed, section, unread
from custom_modules.config.nemo.model import ARCHITECTURE, NO_BIAS, NO_EXPERTS, longest
from custom_modules.config.nemo.parallelism import PARALLELISM
from custom_modules.config.nemo.precision import ATTENTION, GRAPHS, PRECISION
from custom_modules.config.nemo.settings import Settings

SECTION = "model.config"

AS_IN_NEMO_1 = (
    *("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads", "num_query_groups", "kv_channels"),
    *("init_method_std", "layernorm_epsilon", "make_vocab_size_divisible_by", "rotary_base", "vocab_size", "seed"),
    *("position_embedding_type", "share_embeddings_and_output_weights", "window_size", "normalization"),
    *("hidden_dropout", "attention_dropout", "apply_query_key_layer_scaling", "seq_len_interpolation_factor"),
    *("num_moe_experts", "moe_router_topk", "moe_grouped_gemm", "expert_model_parallel_size"),
    *("tensor_model_parallel_size", "pipeline_model_parallel_size", "virtual_pipeline_model_parallel_size"),
    *("context_parallel_size", "sequence_parallel", "overlap_p2p_comm", "batch_p2p_comm", "cp_comm_type"),
    *("recompute_granularity", "recompute_method", "recompute_num_layers", "recompute_modules"),
    *("fp8_recipe", "fp8_margin", "fp8_amax_history_len", "fp8_amax_compute_algo", "fp8", "fp8_interval", "fp8_wgrad"),
    *("fp8_dot_product_attention", "fp8_multi_head_attention", "first_last_layers_bf16"),
    *("num_layers_at_start_in_bf16", "num_layers_at_end_in_bf16", "use_te_rng_tracker"),
    *("gradient_accumulation_fusion", "bias_activation_fusion", "apply_rope_fusion", "masked_softmax_fusion"),
    *("persist_layer_norm", "fp32_residual_connection", "enable_cuda_graph", "cpu_offloading"),
    *("cpu_offloading_num_layers", "cpu_offloading_activations", "cpu_offloading_weights", "use_cpu_initialization"),
    *("rotary_interleaved", "defer_embedding_wgrad_compute", "hysteresis"),
)
"""Fields whose names NeMo 1 has as keys of ``model``."""


def _under_config(entry: NemoKey) -> NemoKey:
    """The same entry, of NeMo 2's longer key; what has the same meaning has another name there."""
    name = entry.name.replace("model.", f"{SECTION}.", 1)
    if entry.fate is not Fate.SAME:
        return replace(entry, name=name)

    def read(value: Any, settings: Settings) -> Outcome:
        outcome = entry.read(value, settings)
        return replace(outcome, put={entry.name: value, **outcome.put})

    here = entry.here.replace("the same", f"`{entry.name}`", 1)
    return replace(entry, name=name, fate=Fate.TRANSLATED, here=here, read=read)


_NEMO_1 = {entry.name: entry for entry in (*ARCHITECTURE, *PARALLELISM, *PRECISION)}

MODEL_CONFIG = (
    *(_under_config(_NEMO_1[f"model.{name}"]) for name in AS_IN_NEMO_1),
    renamed(f"{SECTION}.seq_length", "model.encoder_seq_length", order=LENGTHS),
    longest(f"{SECTION}.max_position_embeddings"),
    anyway(f"{SECTION}.rotary_percent", (1,), "the whole head is rotated"),
    anyway(f"{SECTION}.add_bias_linear", (False,), NO_BIAS),
    anyway(f"{SECTION}.add_qkv_bias", (False,), NO_BIAS),
    anyway(f"{SECTION}.gated_linear_unit", (True,), "the activation is swiglu"),
    anyway(f"{SECTION}.qk_layernorm", (False,), "queries and keys have no norm of their own"),
    unread(f"{SECTION}.attention_softmax_in_fp32", ATTENTION),
    anyway(f"{SECTION}.calculate_per_token_loss", (True,), "a step's loss is the mean over its tokens"),
    anyway(f"{SECTION}.deallocate_pipeline_outputs", (False,), "a pipeline keeps its outputs until they are used"),
    unread(f"{SECTION}.bias_dropout_fusion", "there is neither bias nor dropout to fuse with the addition"),
    anyway(f"{SECTION}.cross_entropy_loss_fusion", (False,), "the loss is this program's own"),
    anyway(f"{SECTION}.fp16_lm_cross_entropy", (False,), "the loss is computed in fp32"),
    anyway(f"{SECTION}.parallel_output", (True,), "logits stay divided over the tensor-parallel ranks"),
    anyway(f"{SECTION}.external_cuda_graph", (False,), GRAPHS),
    anyway(f"{SECTION}.tp_comm_overlap", (False,), "tensor-parallel messages go through NCCL"),
    anyway(f"{SECTION}.moe_layer_freq", (1, None), NO_EXPERTS),
    anyway(
        f"{SECTION}.attention_backend",
        (None, "auto", "AttnBackend.auto"),
        "Transformer Engine chooses the kernel",
        "Transformer Engine chooses the kernel: set NVTE_FLASH_ATTN, NVTE_FUSED_ATTN in the environment",
    ),
    renamed(f"{SECTION}.deterministic_mode", "trainer.deterministic"),
    anyway(f"{SECTION}.fp16", (False,), "there is no fp16"),
    renamed(f"{SECTION}.bf16", "trainer.precision", {True: "bf16-mixed", False: "32-true"}),
    unread(f"{SECTION}.moe_aux_loss_coeff", NO_EXPERTS),
    section(SECTION, "is not here; of the model, the keys in model can be set"),
)
