"""Byte-level BPE: from tokens in the order of their ranks, as tiktoken has them, to a ``tokenizer.json``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from custom_modules.tokenizer.base import COMPANIONS
from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet

END_OF_TEXT = "<|endoftext|>"
CL100K_SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How cl100k_base cuts a text into words, none of which a token crosses: tiktoken's expression as the `tokenizers`
library takes it, which is also Llama 3's."""

Pair = tuple[int, int]
_BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def find_parents(tokens: Sequence[bytes]) -> list[Pair | None]:
    """Find the two tokens that the last merge to each token joins when its own bytes are encoded.

    A vocabulary that holds both parents of each of its tokens makes all of them by merges: the merges that lead to a
    token are those with the lowest ranks in a larger vocabulary too, so they stay what they were.

    Args:
        tokens: by rank.

    Returns:
        The parents' ranks; None for a byte, and for a token that merges do not make.
    """
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return [_last_merge(token, ranks) for token in tokens]


def _last_merge(token: bytes, ranks: dict[bytes, int]) -> Pair | None:
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 1:
        joined = [ranks.get(left + right, len(ranks)) for left, right in pairwise(parts)]
        lowest = min(joined)
        if lowest == len(ranks):
            return None
        place = joined.index(lowest)
        if len(parts) == 2:
            return ranks[parts[0]], ranks[parts[1]]
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return None


def to_json(tokens: Sequence[bytes], is_whole: bool = False, of_words: bool = False) -> dict[str, Any]:
    """Make the content of a ``tokenizer.json`` whose ids are the tokens' ranks, and last `END_OF_TEXT`.

    Every way to join two tokens to a third is a merge, in the order of what it makes, as tiktoken joins.

    Args:
        tokens: by rank, with all bytes among them.
        is_whole: a word that is a token is that token, as in tiktoken, even where no merges make it.
        of_words: for text that is cut already: without the expression, and without `END_OF_TEXT`.
    """
    letters = {byte: letter for letter, byte in byte_alphabet().items()}
    ranks = {token: rank for rank, token in enumerate(tokens)}
    written = ["".join(map(letters.__getitem__, token)) for token in tokens]
    merges: list[tuple[str, str]] = []
    for token in tokens:
        cuts = ((token[:cut], token[cut:]) for cut in range(1, len(token)))
        pairs = sorted((ranks[left], ranks[right]) for left, right in cuts if left in ranks and right in ranks)
        merges += [(written[left], written[right]) for left, right in pairs]
    split = {"type": "Split", "pattern": {"Regex": CL100K_SPLIT}, "behavior": "Isolated", "invert": False}
    end = {"id": len(tokens), "content": END_OF_TEXT, "single_word": False, "lstrip": False, "rstrip": False}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [] if of_words else [{**end, "normalized": False, "special": True}],
        "normalizer": None,
        "pre_tokenizer": _BYTE_LEVEL if of_words else {"type": "Sequence", "pretokenizers": [split, _BYTE_LEVEL]},
        "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": is_whole,
            "vocab": {piece: rank for rank, piece in enumerate(written)},
            "merges": merges,
        },
    }


def write_tokenizer(folder: Path, tokens: Sequence[bytes], is_whole: bool) -> None:
    """Write what `custom_modules.tokenizer.load_tokenizer` and transformers' AutoTokenizer read.

    Args:
        tokens, is_whole: as `to_json` has them.
    """
    config = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": END_OF_TEXT,
        "eos_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }
    for name, content in (("tokenizer.json", to_json(tokens, is_whole)), (COMPANIONS[0], config)):
        (folder / name).write_text(json.dumps(content, ensure_ascii=False, indent=1), encoding="utf-8")
