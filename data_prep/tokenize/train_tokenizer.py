"""A small Llama-like tokenizer for text that has none."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator

from custom_modules.errors import UserError

_MAX_BYTES = 4_192
"""SentencePiece leaves longer lines out."""
_RESERVED = "\u2585"
"""SentencePiece leaves lines with it out: it stands for unknown characters in its trainer."""


def train_tokenizer(texts: Iterable[str], vocab_size: int) -> bytes:
    """Train a SentencePiece BPE model: byte fallback, digits apart, no normalization, unk 0, bos 1, eos 2.

    The same texts give the same model. All of them are held in memory, and more: see
    `data_prep.tokenize.training_texts.TRAINING_BYTES`. Twenty megabytes of English take two seconds.

    Returns:
        The content of a ``tokenizer.model``.

    Raises:
        UserError: the texts are too few for so large a vocabulary.
    """
    import sentencepiece

    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_lines(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            split_digits=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            add_dummy_prefix=True,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise UserError(
            f"model.vocab_size={vocab_size}: no tokenizer of that size can be trained on this text "
            f"{_advice(str(error).splitlines()[0].rpartition('] ')[2])}, or give model.tokenizer.model"
        ) from None
    return model.getvalue()


def _advice(reason: str) -> str:
    """Say what to do about SentencePiece's reason, which is about options that are not there to set."""
    if needed := re.search(r"smaller than required_chars\. \d+ vs (\d+)", reason):
        return f"(its characters alone take {needed[1]}); use a larger one"
    if most := re.search(r"too high .* <= (\d+)", reason):
        return f"(it fills {most[1]} at most); use a smaller one"
    return f"({reason}); use another"


def _lines(texts: Iterable[str]) -> Iterator[str]:
    """Yield the lines of texts in pieces that SentencePiece reads.

    Line breaks, and the one character that it keeps for itself, are left to byte fallback, as in Llama's tokenizer.
    """
    for text in texts:
        for line in text.splitlines():
            for part in line.split(_RESERVED):
                yield from _pieces(part.encode())


def _pieces(line: bytes) -> Iterator[str]:
    """Cut a long line at spaces, each of which the model puts before a line by itself, else between characters."""
    start = 0
    while len(line) - start > _MAX_BYTES:
        stop = begin = line.rfind(b" ", start + 1, start + _MAX_BYTES + 1)
        if stop < 0:
            stop = begin = start + _MAX_BYTES
            while line[stop] & 0xC0 == 0x80:
                stop = begin = stop - 1
        else:
            begin += 1
        yield line[start:stop].decode()
        start = begin
    if start < len(line):
        yield line[start:].decode()
