"""``python -m data_prep.vocabulary.train FILE --vocab-size N --on TEXT``: a byte-level BPE in tiktoken's form.

A rehearsal has it in the place of cl100k_base, which is OpenAI's and is not carried along.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from custom_modules.config.schema import TEXT
from custom_modules.errors import UserError
from custom_modules.files import explained, whole_file
from custom_modules.standard_streams import finished
from custom_modules.system import usable_cores
from custom_modules.tokenizer.byte_bpe import CL100K_SPLIT
from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet
from custom_modules.tokenizer.tiktoken_file import BYTES, to_tiktoken
from data_prep.builtin.inputs import collect_builtin, list_files
from data_prep.input.units import split_units
from data_prep.tokenize.training_texts import training_texts
from data_prep.work.workers import Workers

_UNIT_BYTES = 64_000_000


def train_tokens(texts: Iterable[str], size: int) -> list[bytes]:
    """Train a vocabulary on texts, whose words are cut as cl100k_base's are.

    Returns:
        ``size`` tokens by rank, the bytes first.

    Raises:
        UserError: the texts are too few for it.
    """
    tokenizer = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(CL100K_SPLIT), "isolated")
    bytes_alone = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, bytes_alone])
    letters = byte_alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=list(letters), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    ranks = tokenizer.get_vocab()
    if len(ranks) != size:
        raise UserError(f"--vocab-size {size}: this text gives {len(ranks):,}; give {BYTES} to {len(ranks)}")
    return [bytes(map(letters.__getitem__, piece)) for piece in sorted(ranks, key=ranks.__getitem__)]


def train(file: Path, texts: Sequence[str], size: int) -> None:
    """Train a vocabulary on files or folders, as ``data.input`` has them, and write it.

    Raises:
        UserError: a text that is not there, or too little of it.
    """
    inputs = {TEXT: list(texts)}
    with tempfile.TemporaryDirectory() as name, Workers(usable_cores()) as workers, explained(None):
        corpus = collect_builtin(inputs, Path(name) / "raw", "text", workers)
        listing = list_files(inputs, corpus, Path(name), "text")
        units = split_units(listing.files, _UNIT_BYTES)
        whole_file(file, to_tiktoken(train_tokens(training_texts(units, "text", workers), size)))


def main(arguments: Sequence[str]) -> int:
    """Train; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.vocabulary.train", description=__doc__)
    parser.add_argument("file", type=Path, help="to write, such as mine.tiktoken")
    parser.add_argument("--vocab-size", type=int, required=True, metavar="N", help="tokens, the 256 bytes among them")
    parser.add_argument("--on", nargs="+", required=True, metavar="TEXT", help="as data.input has it")
    given = parser.parse_args(arguments)
    return finished(lambda: train(given.file, given.on, given.vocab_size))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
