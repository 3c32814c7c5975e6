"""A tokenizer as llama.cpp holds it, such that it encodes as training did; control tokens are that in its files too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from custom_modules.chat_tokenizer.tokenizer_json import isolates_markers
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer
from custom_modules.tokenizer.byte_bpe import CL100K_SPLIT
from custom_modules.tokenizer.exported import padding_id
from custom_modules.tokenizer.huggingface_vocabulary import components
from custom_modules.tokenizer.sentencepiece_json import ModelProto

if TYPE_CHECKING:
    from gguf import GGUFWriter

Json = dict[str, Any]

GPT_2 = "gpt-2"
CL100K, CL100K_WHOLE_WORDS = "dbrx", "llama-bpe"
"""llama.cpp's names of one way to cut a text; by the second a word that is a token is that one, whatever the merges."""
REMEDY = "give transformers the folder of `danube convert to-hf`"


def add_tokenizer(writer: GGUFWriter, tokenizer: Tokenizer, rows: int) -> None:
    """Add a tokenizer's entries to a GGUF file; nothing is put before or behind a text, as in training.

    As bos the eos is named, since a document followed one in training.

    Args:
        rows: of the embedding; those that no token has are named, and unused.

    Raises:
        UserError: llama.cpp has no tokenizer that encodes as this one.
    """
    if tokenizer.library == "sentencepiece":
        _add_sentencepiece(writer, tokenizer, rows)
    else:
        _add_byte_level(writer, tokenizer, rows)
    writer.add_bos_token_id(tokenizer.eos_id)
    writer.add_eos_token_id(tokenizer.eos_id)
    writer.add_pad_token_id(padding_id(tokenizer))
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)


def _add_sentencepiece(writer: GGUFWriter, tokenizer: Tokenizer, rows: int) -> None:
    if reason := tokenizer.not_as_json:
        raise _not_alike(tokenizer, reason)
    proto = ModelProto.FromString(tokenizer.path.read_bytes())
    writer.add_tokenizer_model("llama")
    _add_tokens(
        writer,
        [piece.piece for piece in proto.pieces],
        # SentencePiece's numbers of the kinds of a piece are GGUF's.
        [int(piece.type) for piece in proto.pieces],
        tokenizer,
        rows,
    )
    writer.add_token_scores([piece.score for piece in proto.pieces] + [0.0] * (rows - len(proto.pieces)))
    writer.add_add_space_prefix(proto.normalizer_spec.add_dummy_prefix)
    if tokenizer.unk_id is not None:
        writer.add_unk_token_id(tokenizer.unk_id)


def _add_byte_level(writer: GGUFWriter, tokenizer: Tokenizer, rows: int) -> None:
    from gguf import TokenType

    content = tokenizer.to_json()
    cut = _cut(tokenizer, content)
    added = {token["id"]: token for token in content["added_tokens"]}
    written = {index: token for token, index in content["model"]["vocab"].items()}
    written |= {index: token["content"] for index, token in added.items()}
    size = tokenizer.vocab_size
    kinds: list[int] = [TokenType.USER_DEFINED if index in added else TokenType.NORMAL for index in range(size)]
    for index in range(size):
        if index not in written:
            kinds[index] = TokenType.UNUSED
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(cut)
    _add_tokens(writer, [written.get(index, _unused(index)) for index in range(size)], kinds, tokenizer, rows)
    merges = content["model"]["merges"]
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])


def _add_tokens(writer: GGUFWriter, tokens: list[str], kinds: list[int], tokenizer: Tokenizer, rows: int) -> None:
    """Add what each row of the embedding is for; llama.cpp wants as many tokens as there are rows."""
    from gguf import TokenType

    control = tokenizer.control_tokens()
    kinds = [
        TokenType.CONTROL if index in control and kind != TokenType.UNKNOWN else kind
        for index, kind in enumerate(kinds)
    ]
    more = range(len(tokens), rows)
    writer.add_token_list([*tokens, *map(_unused, more)])
    writer.add_token_types([*map(int, kinds), *(int(TokenType.UNUSED) for _ in more)])


def _unused(index: int) -> str:
    return f"[PAD{index}]"


def _cut(tokenizer: Tokenizer, content: Json) -> str:
    """Return llama.cpp's name of the way a byte-level BPE cuts a text into words."""
    model = content["model"]
    parts = [part for part in components(content.get("pre_tokenizer")) if not isolates_markers(part)]
    kinds = [part["type"] for part in parts]
    whole = bool(model.get("ignore_merges"))
    if model.get("type") != "BPE" or kinds[-1:] != ["ByteLevel"] or model.get("byte_fallback"):
        raise _not_alike(tokenizer, "it is no byte-level BPE; a SentencePiece model goes in as tokenizer.model")
    if content.get("normalizer") is not None:
        raise _not_alike(tokenizer, f"its normalizer changes the text ({content['normalizer']['type']})")
    if parts[-1].get("add_prefix_space"):
        raise _not_alike(tokenizer, "it puts a space before a text")
    if kinds == ["ByteLevel"] and parts[-1].get("use_regex", True) and not whole:
        return GPT_2
    if kinds == ["Split", "ByteLevel"] and _is_cl100k(parts[0]) and not parts[-1].get("use_regex", True):
        return CL100K_WHOLE_WORDS if whole else CL100K
    raise _not_alike(tokenizer, "it cuts a text in a way of its own")


def _is_cl100k(split: Json) -> bool:
    return (
        split["pattern"] == {"Regex": CL100K_SPLIT}
        and split["behavior"] == "Isolated"
        and not split.get("invert", False)
    )


def _not_alike(tokenizer: Tokenizer, reason: str) -> UserError:
    return UserError(f"{tokenizer.path}: llama.cpp has no tokenizer that encodes as this one: {reason}; {REMEDY}")
