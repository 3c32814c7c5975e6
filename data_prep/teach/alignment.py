"""One document in two tokenizers: where a token of the student's and one of the teacher's begin together."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from data_prep.teach.vocabulary import ByteVocabulary


@dataclass(frozen=True)
class Aligned:
    """A document as the teacher reads it, and which of its predictions are the student's too.

    Attributes:
        ids: [m], int64, of the teacher: the whole text, with neither bos nor eos.
        rows: [n], int64: the student's tokens, by their place in the document, behind which the teacher says something.
        predictions: [n], int64: the teacher's token, by its place in ``ids``, that its prediction there is of; m is the
            end of the document.
    """

    ids: NDArray[np.int64]
    rows: NDArray[np.int64]
    predictions: NDArray[np.int64]


def align(tokens: NDArray[np.integer], student: ByteVocabulary, teacher: ByteVocabulary) -> Aligned | None:
    """Align a document.

    Args:
        tokens: [t] of the student, the end of the document among them.

    Returns:
        None where the teacher says nothing of it: it is empty, or not what either tokenizer reads.
    """
    eos_id = student.tokenizer.eos_id
    if len(tokens) < 2 or int(tokens[-1]) != eos_id:
        return None
    ids = tokens[:-1].tolist()
    text = student.tokenizer.decode(ids)
    if not teacher.tokenizer.can_encode(text):
        return None
    raw = text.encode(errors="surrogatepass")
    theirs = teacher.tokenizer.encode(text)
    own_begins, begins = student.begins(ids, raw), teacher.begins(theirs, raw)
    if own_begins is None or begins is None:
        return None
    # Behind the student's token i stands what begins where token i + 1 does. Of tokens that begin at one place the
    # last is the one with the text.
    wanted = own_begins[1:]
    places = np.searchsorted(begins, wanted, side="right") - 1
    together = begins[places] == wanted
    return Aligned(np.array(theirs, np.int64), np.flatnonzero(together), places[together])
