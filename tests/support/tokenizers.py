"""Small tokenizers, trained here."""

from __future__ import annotations

import pydoc_data.topics

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

ENGLISH = sorted(pydoc_data.topics.topics.values())[:40]
LLAMA = {
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
