"""A tiny chat model as an export, and pairs of answers that it can learn to tell apart."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.support.commands import run_danube
from tests.support.tokenizers import ENGLISH

WINDOW = 48
VOCAB_SIZE = 400
SHAPE = [
    "model.num_layers=2",
    "model.hidden_size=32",
    "model.ffn_hidden_size=64",
    "model.num_attention_heads=4",
    "model.num_query_groups=2",
    "model.kv_channels=8",
    f"model.vocab_size={VOCAB_SIZE}",
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
GOOD, BAD = "yes", "nay"
"""How a chosen answer ends, and a rejected one."""


def make_chat_export(folder: Path, seed: int = 0) -> Path:
    """Write a Mistral with random weights, and a small tokenizer with the prompt format."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
    from data_prep.tokenize.train_tokenizer import train_tokenizer

    folder.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as base:
        (Path(base) / "tokenizer.model").write_bytes(train_tokenizer(ENGLISH, VOCAB_SIZE))
        tokenizer = ChatTokenizer.from_file("sentencepiece", Path(base) / "tokenizer.model")
        tokenizer.save(folder, 128)
    torch.manual_seed(seed)
    config = MistralConfig(
        vocab_size=VOCAB_SIZE,
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
        eos_token_id=tokenizer.eos_id,
        bos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
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


def prepare_pairs(folder: Path, export: Path, pairs: Sequence[dict[str, Any]]) -> Path:
    """Have `danube prepare` make a ``data.dir`` of pairs, some of them held out; returns it."""
    folder.mkdir(parents=True)
    source = folder / "pairs.jsonl"
    source.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    words = ["prepare", "--config-name", "danube_dpo_rehearsal", *RUN, f"model.restore_from_path={export}"]
    ended = run_danube(*words, *_sources(source), f"data.dir={folder / 'data'}")
    assert ended.returncode == 0, ended.stderr
    return folder / "data"


def _sources(source: Path | str) -> list[str]:
    others = ("ultrafeedback_binarized", "orca_dpo_pairs", "distilabel_math_preference_dpo")
    toy = [f"data.sources.toy.path={source}", "data.sources.toy.format=pairs"]
    return [*toy, *(f"data.sources.{name}=null" for name in others), "data.validation_fraction=0.15", "data.workers=1"]


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
