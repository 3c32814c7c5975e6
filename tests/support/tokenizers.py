"""Small tokenizers, trained here."""

from __future__ import annotations

import pydoc_data.topics
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet

ENGLISH = sorted(pydoc_data.topics.topics.values())[:40]
LLAMA: dict[str, Any] = {
    "model_type": "bpe",
    "byte_fallback": True,
    "normalization_rule_name": "identity",
    "remove_extra_whitespaces": False,
    "allow_whitespace_only_pieces": True,
    "unk_id": 0,
    "bos_id": 1,
    "eos_id": 2,
    "pad_id": -1,
    "num_threads": 1,
    "minloglevel": 2,
}


def make_byte_level() -> Tokenizer:
    """A byte-level BPE like GPT-2's, whose post-processor adds bos and whose `<|end|>` and `<|bos|>` are special."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    special = ["<|bos|>", "<|end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(ENGLISH, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=8)
    return tokenizer


LLAMA_3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""The regular expression of Llama 3's tokenizer.json."""


def make_llama_3_like() -> Tokenizer:
    """Bytes cut by Llama 3's expression, whose ids tell where it cuts: an ASCII character is one piece with a byte that
    begins or ends another, where no cut is between them. Its ``<|end|>`` is special."""
    letters = {byte: letter for letter, byte in byte_alphabet().items()}
    first, last = range(0xC2, 0xF5), range(0x80, 0xC0)
    plain = [letters[byte] for byte in b"ab!1\n"]
    merges = [(letter, letters[byte]) for letter in plain for byte in first]
    merges += [(letters[byte], letter) for letter in plain for byte in last]
    pieces = [*letters.values(), *(left + right for left, right in merges)]
    model = models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=merges, ignore_merges=True)
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(LLAMA_3), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(["<|end|>"])
    return tokenizer
