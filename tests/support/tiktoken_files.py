"""Vocabularies in tiktoken's form, cl100k_base among them where a package that has it is installed."""

from __future__ import annotations

import base64
import gzip
import random
import sys
import unicodedata
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

import pytest
import tiktoken
from hypothesis import strategies as st

from custom_modules.tokenizer.tiktoken_file import to_tiktoken

CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
"""cl100k_base's expression as tiktoken 0.14 has it."""
ASSIGNED = [code for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs", "Co")]
"""Code points that every library's Unicode has, as far as it is as new as this Python's."""

_PIECES = [
    *(" ", "  ", "\n", "\r\n", "\t", "\x00", "\x1c", "\x1f", "\x85", "\u00a0", "\u2028", "\u200b", "\ufeff", "\u0301"),
    *("'", "'s", "'S", "'\u017f", "'LL", "n't", "_", "__a", "...", "!?\n\n", "<|endoftext|>", "😀"),
    *("the", "The", " of", "é", "日本", "1234", "١٢٣٤", "Ⅷ", "²"),
]
odd_texts = st.lists(st.sampled_from(_PIECES) | st.text(max_size=4), max_size=30).map("".join)
"""Where words are cut in one way or another."""


def write_tiktoken(path: Path, tokens: Sequence[bytes]) -> Path:
    path.write_bytes(to_tiktoken(tokens))
    return path


def encoding_of(tokens: Sequence[bytes]) -> tiktoken.Encoding:
    """tiktoken's own encoder of a vocabulary."""
    ranks = {token: rank for rank, token in enumerate(tokens)}
    return tiktoken.Encoding("made here", pat_str=CL100K, mergeable_ranks=ranks, special_tokens={})


def hard_texts(tokens: Sequence[bytes], seed: int = 0) -> Iterator[str]:
    """Texts that show where another order of merges, or another cut, would be taken: runs of all lengths of characters
    that tokens repeat, tokens one after the other, and random characters of all planes."""
    source = random.Random(seed)
    repeated = {token.decode(errors="ignore")[:1] for token in tokens if len(token) > 1 and len(set(token)) == 1}
    for character in sorted({*repeated, " ", "\n", "\t", "a", "0"} - {""}):
        for length in range(1, 140):
            yield f"{character * length}"
            yield f"x{character * length}y"
    for _ in range(300):
        yield b"".join(source.choices(tokens, k=source.randint(2, 12))).decode(errors="replace")
        yield "".join(chr(source.choice(ASSIGNED)) for _ in range(12))
        yield "".join(source.choices(" \n\r\t'sStTmMlLvVeErR1a_.é\u00a0\u2028", k=40))


def cl100k_content() -> bytes:
    """The file cl100k_base.tiktoken; skips the test where no package has it."""
    package = find_spec("bpe_openai")
    if package is None or package.origin is None:
        pytest.skip("bpe-openai, which carries cl100k_base.tiktoken, is not installed")
    return gzip.decompress(Path(package.origin).with_name("data").joinpath("cl100k_base.tiktoken.gz").read_bytes())


def cl100k_tokens() -> list[bytes]:
    """The tokens of cl100k_base by rank, read by tiktoken's rule; skips as `cl100k_content` does."""
    lines = (line.split() for line in cl100k_content().splitlines())
    ranks = {base64.b64decode(token): int(rank) for token, rank in lines}
    return sorted(ranks, key=ranks.__getitem__)
