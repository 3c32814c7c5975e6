"""A small fastText model that tells English from German."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

WORDS = {"en": "the of and to in is that it was for", "de": "der die und das von mit auf den ist ein"}

_THREADS = 11
"""Each sets a tenth of the vectors before the training: with fewer, what the memory held is trained, at times a NaN."""


def train_fasttext(folder: Path) -> Any:
    """Return a trained model; its text and options are in the folder."""
    import fasttext

    source = random.Random(0)
    texts = [(name, " ".join(source.choices(WORDS[name].split(), k=8))) for name in WORDS for _ in range(1_000)]
    source.shuffle(texts)
    (folder / "text").write_text("".join(f"__label__{name} {text}\n" for name, text in texts))
    options = {"dim": 8, "epoch": 5, "minn": 2, "maxn": 3, "bucket": 20_000, "thread": _THREADS, "verbose": 0}
    return fasttext.train_supervised(str(folder / "text"), **options)
