"""A ``tokenizer.json`` for conversations: the turns' markers stay apart from what stands beside them."""

from __future__ import annotations

from typing import Any

from custom_modules.tokenizer.huggingface_vocabulary import components
from custom_modules.tokenizer.vocabulary import SPACE

Json = dict[str, Any]

ISOLATED = f"[ {SPACE}]?" + r"<\|(?:prompt|answer)\|>"
"""A marker with the blank before it, as a normalizer of SentencePiece's kind writes it, or as a text has it."""
_SPLIT = {"type": "Split", "pattern": {"Regex": ISOLATED}, "behavior": "Isolated", "invert": False}


def isolate_markers(content: Json) -> Json:
    """Have a ``tokenizer.json`` cut a text before and behind each marker.

    Many pieces of a large vocabulary begin with the ``>`` that ends a marker: with one of them a prompt would not be
    the beginning of prompt and answer. The markers' ids, and those of any text without one, stay what they were.

    Args:
        content: of a ``tokenizer.json``; `why_not_isolated` must be None.
    """
    parts = components(content.get("pre_tokenizer"))
    # Metaspace writes blanks as the pieces have them, so the cut comes after it; bytes are no text any more.
    parts = [*parts, _SPLIT] if _writes_blanks(parts) else [_SPLIT, *parts]
    whole = parts[0] if len(parts) == 1 else {"type": "Sequence", "pretokenizers": parts}
    return {**content, "pre_tokenizer": whole}


def why_not_isolated(content: Json) -> str | None:
    """Say in a few words why a ``tokenizer.json`` cannot be given the cut; None if nothing keeps it from that."""
    parts = components(content.get("pre_tokenizer"))
    kinds = [part["type"] for part in parts]
    if content["model"].get("type") not in ("BPE", "Unigram"):
        return f"it is a {content['model'].get('type')} model, and not BPE or Unigram"
    if kinds and kinds[-1] != "ByteLevel" and not _writes_blanks(parts):
        return f"it cuts a text in a way of its own ({', '.join(kinds)})"
    return None


def is_isolated(content: Json) -> bool:
    """Tell whether `isolate_markers` made a ``tokenizer.json``."""
    return any(map(isolates_markers, components(content.get("pre_tokenizer"))))


def isolates_markers(part: Json) -> bool:
    """Tell whether a part of a pre-tokenizer is the cut around markers."""
    return part.get("pattern") == _SPLIT["pattern"]


def _writes_blanks(parts: list[Json]) -> bool:
    return [part["type"] for part in parts] == ["Metaspace"]
