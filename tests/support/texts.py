"""Small texts for data preparation."""

from __future__ import annotations

import gzip
import itertools
import random

VOCAB_SIZE = 512
WORDS = [
    "".join(pair)
    for pair in itertools.product(("th", "of", "an", "to", "in", "is", "wh", "st"), ("e", "at", "or", "er", "en"))
]
ODDITIES = ["é", "漢字", "\n", "  two", "</s>", "😀"]


def random_texts(count: int, words: int = 40, seed: int = 0) -> list[str]:
    source = random.Random(seed)
    texts = []
    for _ in range(count):
        chosen = ["".join(source.choices(WORDS, k=source.randint(1, 3))) for _ in range(source.randint(1, 2 * words))]
        chosen += [str(source.randrange(10**9)), source.choice(ODDITIES)]
        source.shuffle(chosen)
        texts.append(" ".join(chosen))
    return texts


def gzipped(content: bytes) -> bytes:
    """Compress as gzip does, but the same bytes whenever it is done, as names of tests have to be."""
    return gzip.compress(content, mtime=0)
