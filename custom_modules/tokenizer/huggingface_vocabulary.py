"""What the ids of a ``tokenizer.json`` stand for, where its model and decoder say so."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from custom_modules.tokenizer.vocabulary import SPACE, Kind, Token, byte_of, piece_bytes, unused

Json = dict[str, Any]

UNICODE_FORMS = {"NFC", "NFD", "NFKC", "NFKD"}
FALLBACK = re.compile(r"<0x[0-9A-F]{2}>")


def why_not_comparable(content: Json) -> str | None:
    """What keeps the bytes that a token stands for from being known; None if nothing does.

    Known are BPE and Unigram models whose pieces are spelled in GPT-2's byte alphabet, or with SentencePiece's space.

    Args:
        content: of the ``tokenizer.json``, as the `tokenizers` library writes it today.
    """
    model = content["model"]
    if model.get("type") not in ("BPE", "Unigram"):
        return f"it is a {model.get('type')} model"
    if model.get("continuing_subword_prefix") or model.get("end_of_word_suffix"):
        return "its pieces are marked by their place in a word"
    changes = [part["type"] for part in components(content.get("normalizer")) if not _keeps_text(part)]
    if changes:
        return f"its normalizer changes the text ({', '.join(changes)})"
    if not _is_byte_level(content) and not _has_sentencepiece_spaces(content):
        kinds = [part["type"] for part in components(content.get("decoder"))]
        return f"its decoder ({', '.join(kinds) or 'none'}) is neither byte-level nor SentencePiece's"
    return None


def read_tokens(content: Json, vocabulary: Mapping[str, int], size: int, roles: Mapping[int, str]) -> list[Token]:
    """What each id stands for; `why_not_comparable` must be None.

    Args:
        vocabulary: every token's id, with the added ones.
        size: one more than the largest id.
        roles: role by id.
    """
    model = content["model"]
    spell = _byte_level_bytes if _is_byte_level(content) else piece_bytes
    has_fallback = bool(model.get("byte_fallback")) and not _is_byte_level(content)
    never_made = _pieces_that_no_merge_makes(model)
    added = {token["id"]: token for token in content["added_tokens"]}
    tokens = [unused(index) for index in range(size)]
    for piece, index in vocabulary.items():
        if index in roles:
            tokens[index] = Token(Kind.CONTROL, piece.encode(), roles[index])
        elif index in added:
            tokens[index] = Token(Kind.CONTROL if added[index]["special"] else Kind.TEXT, piece.encode())
        elif has_fallback and FALLBACK.fullmatch(piece):
            tokens[index] = Token(Kind.BYTE, byte_of(piece))
        elif piece in never_made or (text := spell(piece)) is None:
            tokens[index] = Token(Kind.CONTROL, piece.encode())
        else:
            tokens[index] = Token(Kind.TEXT, text)
    return tokens


def byte_alphabet() -> dict[str, int]:
    """The bytes by the characters that GPT-2 writes them with: printable ones as themselves, the rest from U+0100."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + place): byte for place, byte in enumerate(others)}


_ALPHABET = byte_alphabet()


def _byte_level_bytes(piece: str) -> bytes | None:
    """None: not written in the alphabet, so no text gives it."""
    return bytes(_ALPHABET[character] for character in piece) if _ALPHABET.keys() >= set(piece) else None


def _pieces_that_no_merge_makes(model: Json) -> set[str]:
    """Find a BPE model's pieces that no text gives, such as a ``<s>`` that is not among the added tokens."""
    if model["type"] != "BPE" or model.get("ignore_merges"):
        return set()
    merges = (merge.split(" ", 1) if isinstance(merge, str) else merge for merge in model["merges"])
    made = {left + right for left, right in merges}
    return {piece for piece in model["vocab"] if len(piece) > 1 and piece not in made}


def _is_byte_level(content: Json) -> bool:
    decoders = [part["type"] for part in components(content.get("decoder"))]
    return decoders == ["ByteLevel"] and any(
        part["type"] == "ByteLevel" for part in components(content.get("pre_tokenizer"))
    )


def _has_sentencepiece_spaces(content: Json) -> bool:
    parts = components(content.get("decoder"))
    others = [part for part in parts if not _writes_spaces(part)]
    return len(others) < len(parts) and all(part["type"] in ("ByteFallback", "Fuse", "Strip") for part in others)


def _writes_spaces(decoder: Json) -> bool:
    if decoder["type"] == "Metaspace":
        return decoder["replacement"] == SPACE
    return decoder["type"] == "Replace" and (decoder["pattern"], decoder["content"]) == ({"String": SPACE}, " ")


def _keeps_text(normalizer: Json) -> bool:
    """Whether it only puts spaces as SentencePiece does, or characters in a Unicode form."""
    if normalizer["type"] == "Replace":
        return (normalizer["pattern"], normalizer["content"]) == ({"String": " "}, SPACE)
    return normalizer["type"] in UNICODE_FORMS or normalizer == {"type": "Prepend", "prepend": SPACE}


def components(component: Json | None) -> list[Json]:
    """A normalizer, pre-tokenizer or decoder, or those of a sequence."""
    if component is None:
        return []
    if component["type"] != "Sequence":
        return [component]
    inner = next(value for key, value in component.items() if key != "type")
    return [part for child in inner for part in components(child)]
