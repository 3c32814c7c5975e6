"""A tokenizer as a Hugging Face folder holds it: the control tokens it finds in a text, and which of them does what."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from custom_modules.tokenizer.base import Tokenizer

Json = dict[str, Any]


def config_json(tokenizer: Tokenizer) -> Json:
    """Make the content of a ``tokenizer_config.json``, with which transformers adds nothing to a text.

    As bos the eos is named, since a document followed one in training.
    """
    control, eos = tokenizer.control_tokens(), tokenizer.token(tokenizer.eos_id)
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": eos,
        "eos_token": eos,
        "unk_token": None if tokenizer.unk_id is None else control.get(tokenizer.unk_id),
        "pad_token": tokenizer.token(padding_id(tokenizer)),
        "add_bos_token": False,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
        "model_input_names": ["input_ids", "attention_mask"],
    }


def padding_id(tokenizer: Tokenizer) -> int:
    """The token that fills batches: one that no loss is wanted of, so the end of text only where there is no other."""
    control = tokenizer.control_tokens()
    preferred = (tokenizer.unk_id, tokenizer.pad_id, tokenizer.bos_id, *control)
    return next((index for index in preferred if index in control and index != tokenizer.eos_id), tokenizer.eos_id)


def with_control_tokens(content: Json, control: Mapping[int, str]) -> Json:
    """A tokenizer.json that finds these tokens in a text, wherever they stand, before anything is done to it."""
    added = {token["id"]: token for token in content["added_tokens"]}
    for index, text in control.items():
        spaces = {"lstrip": False, "rstrip": False} | added.get(index, {})
        anywhere = {"single_word": False, "normalized": False, "special": True}
        added[index] = {**spaces, "id": index, "content": text, **anywhere}
    return {**content, "added_tokens": [added[index] for index in sorted(added)]}
