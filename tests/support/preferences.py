"""A tiny chat model as an export, and pairs of answers that it can learn to tell apart."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from custom_modules.files import sha256_of

WINDOW = 48
SHAPE = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=4",
    "model.num_query_groups=2",
    "model.kv_channels=8",
    "model.vocab_size=259",
    f"model.sliding_window={WINDOW}",
]
RUN = [
    *SHAPE,
    "model.encoder_seq_length=128",
    "model.micro_batch_size=2",
    "model.activations_checkpoint_granularity=null",
    "trainer.cpu_threads=1",
    "trainer.devices=1",
    "trainer.log_every_n_samples=4",
    "trainer.val_every_n_samples=40",
    "exp_manager.create_tensorboard_logger=false",
    "exp_manager.checkpoint_callback_params.every_n_train_samples=8",
    "exp_manager.checkpoint_callback_params.save_last_n=3",
    "model.optim.lr=1e-3",
]
"""Of 2 pairs a step: a log line every second step, a checkpoint every fourth."""
TEMPLATE = (
    "{% for message in messages %}{{ '<|prompt|>' if message['role'] == 'user' else '<|answer|>' }}"
    "{{ message['content'] | trim }}{{ eos_token }}{% endfor %}{% if add_generation_prompt %}<|answer|>{% endif %}"
)
GOOD, BAD = "yes", "nay"
"""How a chosen answer ends, and a rejected one."""


def make_chat_export(folder: Path, seed: int = 0) -> Path:
    """Write a Mistral with random weights, and a tokenizer of bytes with a chat template."""
    import torch
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    torch.manual_seed(seed)
    special = ["<unk>", "<s>", "</s>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate([*special, *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.add_special_tokens([AddedToken(token, special=True) for token in special])
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", pad_token="<unk>"
    )
    fast.chat_template = TEMPLATE
    fast.save_pretrained(folder)
    config = MistralConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        sliding_window=WINDOW,
        max_position_embeddings=128,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        initializer_range=0.1,
        eos_token_id=2,
        bos_token_id=2,
        pad_token_id=0,
    )
    MistralForCausalLM(config).save_pretrained(folder)
    return folder


def make_pairs(count: int, seed: int, exchanged: bool = False) -> list[dict[str, Any]]:
    """Make pairs of one to three turns whose last word decides.

    Args:
        exchanged: what ends well is the rejected one.
    """
    source = random.Random(seed)
    pairs = []
    for _ in range(count):
        words = ["".join(source.choices("abcdefgh", k=source.randint(2, 5))) for _ in range(12)]
        turns = source.randint(1, 2)
        prompt = [
            {"role": "assistant" if turn % 2 else "user", "content": f"{words[turn]} {words[turn + 1]}"}
            for turn in range(2 * turns - 1)
        ]
        answers = [[{"role": "assistant", "content": f"{words[8]} {last}"}] for last in (GOOD, BAD)]
        chosen, rejected = reversed(answers) if exchanged else answers
        pairs.append({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    return pairs


def write_preferences(folder: Path, train: Sequence[dict[str, Any]], validation: Sequence[dict[str, Any]]) -> Path:
    """Write prepared pairs as `danube prepare` does; returns the ``data.dir``."""
    import pyarrow
    import pyarrow.parquet

    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in (("train", train), ("validation", validation)):
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), folder / f"{name}.parquet")
    files = {f"{name}.parquet": sha256_of(folder / f"{name}.parquet") for name in ("train", "validation")}
    (folder / "manifest.json").write_text(json.dumps({"files": files}))
    return folder


def dpo_arguments(export: Path, data: Path, runs: Path, name: str, *overrides: str) -> list[str]:
    """Return the words of a `danube dpo` of the tiny model."""
    folders = [f"exp_manager.exp_dir={runs}", f"exp_manager.name={name}", f"data.dir={data}"]
    return [
        "dpo",
        "--config-name",
        "danube_dpo_rehearsal",
        *RUN,
        f"model.restore_from_path={export}",
        *folders,
        *overrides,
    ]
