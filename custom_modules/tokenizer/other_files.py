"""What lies where a tokenizer is looked for, and what to give instead."""

from __future__ import annotations

import json
import re

_TIKTOKEN = re.compile(rb"[A-Za-z0-9+/]+={0,2} \d+\r?\n")
_LFS = b"version https://git-lfs"
_TO_JSON = "give the tokenizer.json of the same model, with model.tokenizer.library=huggingface"


def what_else(content: bytes) -> str | None:
    """Say what a file that the library of its tokenizer does not read is, and what to do; None: nobody knows.

    Args:
        content: the file's.
    """
    if content.startswith(_LFS):
        return "it is a git-lfs pointer; fetch the file itself with `git lfs pull`"
    if _TIKTOKEN.match(content):
        return (
            "it is tiktoken's list of tokens, as of Llama 3 and Qwen, which no library here reads (of cl100k_base's "
            f"`danube prune-tokenizer` makes a tokenizer.json); {_TO_JSON}"
        )
    kind = _kind_of_json(content)
    if kind == "tekken":
        return f"it is Mistral's tekken.json, which no library here reads; {_TO_JSON}"
    if kind == "tokenizers":
        return "it is a tokenizer.json; set model.tokenizer.library=huggingface"
    if _is_sentencepiece(content):
        return "it is a SentencePiece model; set model.tokenizer.library=sentencepiece"
    return None


def _kind_of_json(content: bytes) -> str | None:
    if not content[:100].lstrip().startswith(b"{"):
        return None
    try:
        found = json.loads(content)
    except ValueError:
        return None
    if isinstance(found.get("vocab"), list) and isinstance(found.get("config"), dict):
        return "tekken"
    return "tokenizers" if isinstance(found.get("model"), dict) else None


def _is_sentencepiece(content: bytes) -> bool:
    from sentencepiece import SentencePieceProcessor

    try:
        return bool(SentencePieceProcessor().LoadFromSerializedProto(content))
    except Exception:
        return False
