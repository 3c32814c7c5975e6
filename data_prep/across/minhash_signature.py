"""datatrove's MinHash signatures, whatever the text in time that doubles when the text does, and in flat memory.

Importing this module imports datatrove; spaCy is imported with the first text.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
from numpy.typing import NDArray

from data_prep.steps.library_words import splitter
from data_prep.text.normalize import order_marks

_AT_ONCE = 1 << 14
"""N-grams; the library computes all hashes of so many in one array."""


class Signatures(MinhashDedupSignature):
    """The library's first pass: it writes the same signatures."""

    def __init__(self, folder: Path, config: MinhashConfig) -> None:
        words: Any = splitter("spacy")
        super().__init__(str(folder), config, language=words)

    def get_shingles(self, text: str) -> NDArray[np.uint64]:
        """Return the hashes of a text's n-grams: [n-grams, 1]."""
        shingles: NDArray[np.uint64] = super().get_shingles(order_marks("NFD", text))
        return shingles

    def get_signature(self, shingles: NDArray[np.uint64]) -> list[list[int]]:
        """Return a signature for each bucket: [buckets, hashes]."""
        blocks = (shingles[begin : begin + _AT_ONCE] for begin in range(0, len(shingles), _AT_ONCE))
        signature: list[list[int]] = np.min(
            [super(Signatures, self).get_signature(block) for block in blocks], axis=0
        ).tolist()
        return signature
