"""What an encoder's training begins with: a local Hugging Face folder, or a new BERT; and its tokenizer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
import transformers
from tokenizers import Tokenizer as RustTokenizer
from tokenizers.processors import TemplateProcessing

from custom_modules.errors import UserError
from custom_modules.tokenizer import load_tokenizer
from data_prep.quality.options import EncoderOptions
from data_prep.work.transformers_models import quiet, saved_tokenizer, short

_LABELS = {0: "raw", 1: "good"}


def start(options: EncoderOptions) -> tuple[Any, Any]:
    """The model, in float32 and on the CPU, and the tokenizer, both as transformers has them.

    New weights, a new head's at least, come from torch's global generator.

    Raises:
        UserError: what ``base`` or ``tokenizer`` names cannot be used, or does not fit the other or ``max_length``.
    """
    if options.base is None:
        assert options.tokenizer is not None
        tokenizer = own_tokenizer(options.tokenizer, options.tokenizer_library)
        model = _new_bert(len(tokenizer), tokenizer.pad_token_id, options)
    else:
        folder = Path(options.base)
        if not (folder / "config.json").is_file():
            raise UserError(f"base={folder}: no config.json there; give a local Hugging Face folder of an encoder")
        model = load_classifier(folder, f"base={folder}", _LABELS)
        if options.tokenizer is None:
            tokenizer = saved_tokenizer(folder, f"base={folder}", ", or give tokenizer=FILE")
        else:
            tokenizer = own_tokenizer(options.tokenizer, options.tokenizer_library)
    _check(model, tokenizer, options)
    return model, tokenizer


def load_classifier(folder: Path, where: str, labels: dict[int, str] | None = None) -> Any:
    """A sequence classifier in float32 from a local folder; nothing is asked of any hub.

    Args:
        where: how an error begins.
        labels: for a new head; None: the folder must have one.

    Raises:
        UserError: transformers cannot load it.
    """
    head = {"id2label": labels, "label2id": {v: k for k, v in labels.items()}} if labels else {}
    try:
        with quiet():
            return transformers.AutoModelForSequenceClassification.from_pretrained(
                folder,
                local_files_only=True,
                trust_remote_code=False,
                dtype=torch.float32,
                ignore_mismatched_sizes=labels is not None,
                **head,
            )
    except Exception as error:
        raise UserError(
            f"{where}: transformers cannot load it as a classifier of texts ({short(error)}); "
            "give a whole folder of an encoder such as BERT"
        ) from None


def own_tokenizer(path: str, library: str) -> Any:
    """A tokenizer of the project's, which puts bos before a text and eos behind it as an encoder needs.

    Raises:
        UserError: it cannot be read, or no ``tokenizer.json`` encodes as it does.
    """
    try:
        tokenizer = load_tokenizer(library, Path(path))
    except UserError as error:
        message = str(error).replace("model.tokenizer.model=", "tokenizer=", 1)
        raise UserError(message.replace("model.tokenizer.library", "tokenizer_library")) from None
    if tokenizer.not_as_json:
        raise UserError(f"tokenizer={path}: it cannot become a tokenizer.json ({tokenizer.not_as_json}); give another")
    first = tokenizer.eos_id if tokenizer.bos_id is None else tokenizer.bos_id
    padding = tokenizer.eos_id if tokenizer.unk_id is None else tokenizer.unk_id
    begin, end = tokenizer.token(first), tokenizer.token(tokenizer.eos_id)
    backend = RustTokenizer.from_str(json.dumps(tokenizer.to_json()))
    backend.post_processor = TemplateProcessing(
        single=[begin, "$A", end], special_tokens=list({begin: first, end: tokenizer.eos_id}.items())
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=begin,
        eos_token=end,
        pad_token=tokenizer.token(padding),
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
    )


def _new_bert(vocab_size: int, pad_id: int, options: EncoderOptions) -> Any:
    config = transformers.BertConfig(
        vocab_size=vocab_size,
        hidden_size=options.hidden_size,
        num_hidden_layers=options.num_layers,
        num_attention_heads=options.num_attention_heads,
        intermediate_size=options.ffn_hidden_size,
        max_position_embeddings=options.max_length,
        pad_token_id=pad_id,
        id2label=_LABELS,
        label2id={name: label for label, name in _LABELS.items()},
    )
    return transformers.AutoModelForSequenceClassification.from_config(config, dtype=torch.float32)


def _check(model: Any, tokenizer: Any, options: EncoderOptions) -> None:
    named = f"tokenizer={options.tokenizer}" if options.tokenizer else f"base={options.base}"
    if len(tokenizer) > model.config.vocab_size:
        raise UserError(
            f"{named}: the tokenizer has {len(tokenizer)} tokens, the model {model.config.vocab_size}; give the "
            "tokenizer that the model was made with"
        )
    if tokenizer.pad_token_id is None:
        raise UserError(f"{named}: its tokenizer has no token to pad with; give the folder of an encoder such as BERT")
    ids = torch.full((1, options.max_length), 0 if tokenizer.pad_token_id else 1)
    try:
        with torch.inference_mode():
            model.eval()(input_ids=ids, attention_mask=torch.ones_like(ids))
    except (IndexError, RuntimeError):
        raise UserError(
            f"max_length={options.max_length}: base={options.base} reads fewer tokens; use a smaller max_length"
        ) from None
