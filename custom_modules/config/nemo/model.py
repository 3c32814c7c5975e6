"""NeMo's keys of the model: what function it is, and its batch."""

from __future__ import annotations

from typing import Any

from custom_modules.config.nemo.fates import (
    BATCHES,
    RAMPS,
    Fate,
    NemoKey,
    Outcome,
    anyway,
    matching,
    refused,
    renamed,
    same,
    translated,
    unread,
)
from custom_modules.config.nemo.settings import Refused, Settings, as_value
from custom_modules.config.nemo.trainer import whole_number

NO_BIAS = "linears have no bias"
NO_EXPERTS = "every layer is dense; leave it out"
DOT_NEMO = (
    "a .nemo file is not read: NeMo's converter makes a Hugging Face folder of it, which `danube convert from-hf` takes"
)
MCORE = "models are megatron-core's"
RAMPUP = "model.rampup_batch_tokens"
NO_GROUPS = "as many as model.num_attention_heads"


def batch_size(name: str) -> NemoKey:
    """Sequences in a step: tokens of each stage, by its length."""

    def read(value: Any, settings: Settings) -> Outcome:
        sequences = whole_number(value, "sequences")
        tokens = {stage: sequences * settings.seq_length(stage) for stage in settings.stages}
        note = f"{sequences:,} sequences a step"
        own = [stage for stage, keys in settings.stages.items() if keys.get("global_batch_tokens") is not None]
        if len(set(tokens.values())) == 1 and not own:
            return Outcome({"model.global_batch_tokens": next(iter(tokens.values()))}, note)
        put = {f"curriculum.stages.{stage}.global_batch_tokens": size for stage, size in tokens.items()}
        if settings.rampup is None:
            return Outcome(put, note)
        # A ramp ends at the model's batch, and the stages in it have none of their own.
        first = next(iter(tokens.values()))
        own_size = {key: None if size == first else size for key, size in put.items()}
        return Outcome({"model.global_batch_tokens": first, **own_size}, note)

    here = "`model.global_batch_tokens`, or `curriculum.stages.<stage>.global_batch_tokens` where lengths differ"
    return translated(name, ("model.global_batch_tokens",), here, read, BATCHES)


def rampup_batch_size(name: str) -> NemoKey:
    """The first batch, the increment and the length of a ramp in sequences: tokens, by the length they have in it."""

    def read(value: Any, settings: Settings) -> Outcome:
        numbers = list(value) if isinstance(value, (list, tuple)) else [value]
        if len(numbers) != 3:
            raise Refused("needs [first, increment, samples], three whole numbers above 0")
        sequences = [whole_number(number, "sequences") for number in numbers]
        length, tokens = _length_of_the_first(settings)
        if tokens is not None and sequences[2] * length > tokens:
            raise Refused(
                f"sequences are {length} tokens in the run's first {tokens:,} only, where the ramp does not end; set "
                f"{RAMPUP}, in tokens"
            )
        return Outcome({RAMPUP: [number * length for number in sequences]}, f"sequences of {length:,} tokens")

    return translated(name, (RAMPUP,), f"`{RAMPUP}`, by the length of the sequences in it", read, RAMPS)


def _length_of_the_first(settings: Settings) -> tuple[int, int | None]:
    """Return the length of the run's first sequences, and the tokens of the stages up to the first of another length;
    None where there is none."""
    names, tokens = list(settings.stages), 0
    length = settings.seq_length(names[0])
    for name in names:
        if settings.seq_length(name) != length:
            return length, tokens
        tokens += settings.whole(f"curriculum.stages.{name}.tokens")
    return length, None


def window(name: str) -> NemoKey:
    """megatron-core's window is the tokens to the left and the right of one; ours counts it in."""

    def read(value: Any, settings: Settings) -> Outcome:
        size = as_value(value)
        if isinstance(size, (list, tuple)) and len(size) == 2:
            left, right = map(as_value, size)
            if left == -1 and right in (0, -1):
                return Outcome({"model.sliding_window": None})
            if right not in (0, -1) or not isinstance(left, int) or left < 0:
                raise Refused("attention is causal: the window is [LEFT, 0], or model.sliding_window=LEFT + 1")
            return Outcome({"model.sliding_window": left + 1}, f"{left:,} tokens to the left, and the token itself")
        if size is None:
            return Outcome({"model.sliding_window": None})
        return Outcome(
            {"model.sliding_window": whole_number(value, "tokens")}, "tokens that a token sees, itself included"
        )

    return translated(
        name, ("model.sliding_window",), "`model.sliding_window`: LEFT + 1 of [LEFT, 0]", read, null_says_nothing=False
    )


def longest(name: str) -> NemoKey:
    """The positions that a model has."""

    def expected(settings: Settings) -> int:
        return max(settings.seq_length(stage) for stage in settings.stages)

    return matching(
        name,
        expected,
        "the longest stage's `encoder_seq_length`",
        "it is {}, the longest stage's curriculum.stages.<stage>.encoder_seq_length; leave it out, or change that",
        also=(None,),
    )


def _groups(value: Any, settings: Settings) -> Outcome:
    if as_value(value) is not None:
        return Outcome({})
    return Outcome({"model.num_query_groups": settings.whole("model.num_attention_heads")}, NO_GROUPS)


def _weights(value: Any, settings: Settings) -> Outcome:
    if isinstance(value, str) and value.endswith(".nemo"):
        raise Refused(DOT_NEMO)
    return Outcome({})


def _from_path(value: Any, settings: Settings) -> Outcome:
    _weights(value, settings)
    return Outcome({"model.restore_from_path": value})


ARCHITECTURE = (
    *(
        same(f"model.{name}")
        for name in (
            "num_layers",
            "hidden_size",
            "ffn_hidden_size",
            "num_attention_heads",
            "kv_channels",
            "init_method_std",
            "layernorm_epsilon",
            "make_vocab_size_divisible_by",
            "rotary_base",
            "encoder_seq_length",
            "seed",
            "micro_batch_size",
            "vocab_size",
        )
    ),
    same(
        "model.normalization",
        "the same: `rmsnorm`, or null",
        no={"layernorm": "danube has rmsnorm only", "layernorm1p": "danube has rmsnorm only"},
    ),
    same("model.activation", "the same: `swiglu` or `fast-swiglu`, or null"),
    same("model.position_embedding_type", "the same: `rope` or `alibi`, as the architecture has it, or null"),
    same("model.share_embeddings_and_output_weights", "the same: false, or null"),
    NemoKey("model.num_query_groups", Fate.SAME, f"the same; null: {NO_GROUPS}", _groups, ("model.num_query_groups",)),
    renamed("model.override_vocab_size", "model.vocab_size"),
    longest("model.max_position_embeddings"),
    window("model.window_size"),
    anyway("model.mcore_gpt", (True,), MCORE),
    anyway("model.megatron_legacy", (False,), MCORE),
    refused(
        "model.name",
        "the kind of model is model.architecture, whose layers are megatron-core's, with Transformer Engine by "
        "model.transformer_engine; leave it out",
    ),
    refused("model.mcore_customization_config", "the kind of model is model.architecture; leave it out"),
    anyway(
        "model.use_scaled_init_method",
        (True,),
        "the matrices that write to the residual stream are drawn with init_method_std / sqrt(2 x num_layers)",
    ),
    *(
        anyway(f"model.{name}", (0, None), "there is no dropout", "there is no dropout; set it to 0.0")
        for name in ("hidden_dropout", "attention_dropout", "ffn_dropout")
    ),
    anyway("model.apply_query_key_layer_scaling", (False,), "scores are divided by the root of the head dim alone"),
    anyway("model.normalize_attention_scores", (True,), "scores are divided by the root of the head dim"),
    anyway("model.do_layer_norm_weight_decay", (False,), "norms have no weight decay"),
    anyway("model.pre_process", (True,), "the first pipeline rank has the embedding"),
    anyway("model.post_process", (True,), "the last pipeline rank has the head"),
    anyway("model.bias", (False,), NO_BIAS),
    anyway("model.qkv_bias", (False,), NO_BIAS),
    anyway("model.headscale", (False,), "a head's output is not scaled"),
    anyway("model.transformer_block_type", ("pre_ln",), "norms stand before attention and before the MLP"),
    anyway("model.openai_gelu", (False,), "the activation is swiglu"),
    anyway(
        "model.onnx_safe",
        (False,),
        "nothing is exported to ONNX",
        "`danube convert to-hf` makes a Hugging Face folder, which exporters take",
    ),
    anyway("model.rotary_percentage", (1, None), "the whole head is rotated"),
    anyway("model.rotary_interleaved", (False,), "a head's halves are rotated"),
    anyway("model.seq_len_interpolation_factor", (None, 1), "positions are not interpolated"),
    anyway("model.scale_positional_embedding", (False,), "positions are not scaled"),
    anyway("model.apply_embedding_scaling", (False,), "embeddings are not scaled"),
    anyway("model.attention_type", ("multihead",), "attention is causal self-attention"),
    anyway("model.num_moe_experts", (None, 0), NO_EXPERTS),
    anyway("model.expert_model_parallel_size", (1, None), "there are no experts", NO_EXPERTS),
    *(
        unread(f"model.{name}", "there are no experts")
        for name in (
            "moe_router_topk",
            "moe_router_load_balancing_type",
            "moe_token_dropping",
            "moe_grouped_gemm",
            "moe_z_loss_coeff",
            "moe_aux_loss_coeff",
            "moe_input_jitter_eps",
        )
    ),
    anyway("model.drop_layers", (None,), "all layers are trained"),
    anyway("model.hyena", (None,), "layers are attention and MLP"),
    NemoKey(
        "model.restore_from_path",
        Fate.SAME,
        "the same, of a run or a checkpoint of ours; not a .nemo file",
        _weights,
        ("model.restore_from_path",),
    ),
    translated("restore_from_path", ("model.restore_from_path",), "`model.restore_from_path`", _from_path),
    refused(
        "model.restore_from_ckpt",
        "a run goes on from the last checkpoint of its own folder: set exp_manager.exp_dir and exp_manager.name; "
        "for weights alone, model.restore_from_path",
    ),
    refused(
        "model.resume_from_checkpoint",
        "a run goes on from the last checkpoint of its own folder: set exp_manager.exp_dir and exp_manager.name; "
        "for weights alone, model.restore_from_path",
    ),
    anyway(
        "model.reset_lr",
        (False,),
        "the learning rate follows the run's tokens",
        "the learning rate follows the run's tokens; a run that begins with model.restore_from_path begins its "
        "schedule too",
    ),
    anyway("model.reset_lr_steps", (False,), "the learning rate follows the run's tokens"),
    anyway("model.skip_train", (False,), "a run trains"),
    batch_size("model.global_batch_size"),
    rampup_batch_size("model.rampup_batch_size"),
    anyway("model.use_loss_mask", (None, False), "every token counts"),
)
