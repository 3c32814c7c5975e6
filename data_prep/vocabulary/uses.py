"""How often each token of a vocabulary is used for the words of a corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from tokenizers import Tokenizer as RustTokenizer

from custom_modules.files import explained, whole_file
from custom_modules.tokenizer.byte_bpe import to_json
from data_prep.vocabulary.word_table import read_pieces
from data_prep.work.workers import Pool

_WORDS_AT_ONCE = 1 << 14


@dataclass(frozen=True)
class Uses:
    """What a vocabulary makes of a corpus."""

    counted: NDArray[np.int64]
    """How often each token is used in the text that is counted: [tokens]."""
    held_out: int
    """How many tokens the text that is held out has."""

    def __add__(self, other: Uses) -> Uses:
        return Uses(self.counted + other.counted, self.held_out + other.held_out)


class UseCounter:
    """Counts the uses of vocabularies over the tables of a corpus, in worker processes.

    Args:
        folder: where the workers read a vocabulary.
    """

    def __init__(self, tables: Sequence[Path], folder: Path, workers: Pool) -> None:
        self._tables, self._folder, self._workers = tables, folder, workers
        self._vocabularies = 0

    def count(self, tokens: Sequence[bytes], is_whole: bool = False) -> Uses:
        """Count the uses of a vocabulary.

        Args:
            tokens, is_whole: as `custom_modules.tokenizer.byte_bpe.to_json` has them.

        Raises:
            UserError: a file that cannot be read or written.
        """
        self._vocabularies += 1
        file = self._folder / f"{self._vocabularies:02d}.json"
        with explained(file):
            self._folder.mkdir(exist_ok=True)
        whole_file(file, orjson.dumps(to_json(tokens, is_whole, of_words=True)))
        uses = Uses(np.zeros(len(tokens), np.int64), 0)
        for _, of_table in self._workers.run(count_uses, [(table, file) for table in self._tables]):
            uses += of_table
        return uses


def count_uses(table: Path, vocabulary: Path) -> Uses:
    """Encode the words of a table.

    Args:
        vocabulary: a file of `custom_modules.tokenizer.byte_bpe.to_json`, of words.

    Raises:
        UserError: a file that cannot be read.
    """
    tokenizer = _load(vocabulary)
    counted, held_out = np.zeros(tokenizer.get_vocab_size(), np.int64), 0
    for words in read_pieces(table, _WORDS_AT_ONCE):
        texts = [word.decode() for word in words.words]
        ids = [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        lengths = np.fromiter(map(len, ids), np.int64, len(ids))
        every = np.fromiter(chain.from_iterable(ids), np.int64, int(lengths.sum()))
        np.add.at(counted, every, np.repeat(words.counted, lengths))
        held_out += int(lengths @ words.held_out)
    return Uses(counted, held_out)


@lru_cache(maxsize=1)
def _load(file: Path) -> RustTokenizer:
    with explained(file):
        return RustTokenizer.from_buffer(file.read_bytes())
