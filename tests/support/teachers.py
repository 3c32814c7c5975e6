"""Small causal language models in Hugging Face folders, with tokenizers trained here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import sentencepiece

from tests.support.tokenizers import ENGLISH, LLAMA, make_byte_level


def write_byte_level(folder: Path) -> Path:
    """Put a byte-level tokenizer.json of 400 tokens into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    make_byte_level().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<|bos|>", "eos_token": "<|end|>"}))
    return folder


def write_sentencepiece(folder: Path, vocab_size: int = 500, texts: Sequence[str] = ENGLISH) -> Path:
    """Put a tokenizer.model with Llama's options into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    prefix = str(folder / "tokenizer")
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=prefix, vocab_size=vocab_size, **LLAMA
    )
    return folder


def write_llama(folder: Path, vocab_size: int, seed: int = 0, positions: int = 256) -> Path:
    """Put a Llama of two layers with random weights, whose predictions are far from flat, into a folder."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(seed)
    shape: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = LlamaConfig(vocab_size=vocab_size, max_position_embeddings=positions, initializer_range=0.4, **shape)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def write_gpt2(folder: Path, vocab_size: int, seed: int = 0, positions: int = 100) -> Path:
    """Put a GPT-2 of two layers with random weights into a folder."""
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab_size, n_positions=positions, n_embd=32, n_layer=2, n_head=4, initializer_range=0.4
    )
    GPT2LMHeadModel(config).save_pretrained(folder)
    return folder


def write_lokilm(folder: Path, vocab_size: int, seed: int = 0, positions: int = 256) -> Path:
    """Put a model of LokiLM's class into a folder as its exports are: with code beside it that must not be run."""
    import torch

    from custom_modules.conversion.modeling_alibi_llama import AlibiLlamaConfig, AlibiLlamaForCausalLM

    torch.manual_seed(seed)
    shape: Any = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = AlibiLlamaConfig(vocab_size=vocab_size, max_position_embeddings=positions, initializer_range=0.4, **shape)
    AlibiLlamaForCausalLM(config).save_pretrained(folder)
    file = folder / "config.json"
    code = {"AutoConfig": "theirs.AlibiLlamaConfig", "AutoModelForCausalLM": "theirs.AlibiLlamaForCausalLM"}
    file.write_text(json.dumps({**json.loads(file.read_text()), "auto_map": code}))
    (folder / "theirs.py").write_text("raise SystemExit('code of the folder was run')\n")
    return folder
