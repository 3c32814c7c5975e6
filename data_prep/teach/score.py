"""What a teacher says of the documents of a shard, as records of its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from custom_modules.distillation.rows_writer import make_records
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer
from data_prep.teach.alignment import align
from data_prep.teach.teacher import Teacher, TeacherFolder, load_teacher
from data_prep.teach.top_k import StudentsTopK
from data_prep.teach.vocabulary import byte_vocabulary, map_tokens
from data_prep.teach.windows import Window, batches, cut


@dataclass(frozen=True)
class Covered:
    """How much a teacher says.

    Attributes:
        positions: tokens that another token of the same document follows.
        covered: those of them of which it says something.
    """

    positions: int
    covered: int

    def __add__(self, other: Covered) -> Covered:
        return Covered(self.positions + other.positions, self.covered + other.covered)

    @property
    def share(self) -> float:
        return self.covered / self.positions if self.positions else 0.0


class Scores(Protocol):
    """Where rows come from."""

    @property
    def identity(self) -> str:
        """All that they follow from, but the documents, the data's tokenizer and k."""
        ...

    def score(
        self, documents: Sequence[NDArray[Any]], between: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[Any], Covered]:
        """Return a record for each token of documents, and how much of them is covered."""
        ...


@dataclass(frozen=True)
class ModelScores:
    """A teacher with weights, which are loaded for the first document: a `Scores`.

    Attributes:
        length: tokens that it reads at a time; None: see `data_prep.teach.teacher.load_teacher`.
    """

    folder: TeacherFolder
    student: Tokenizer
    length: int | None
    k: int
    device: torch.device

    @property
    def identity(self) -> str:
        return f"{self.folder.digest}, length {self.length}"

    @cached_property
    def _scorer(self) -> Scorer:
        return Scorer(load_teacher(self.folder, self.device, self.length), self.student, self.k)

    def score(
        self, documents: Sequence[NDArray[Any]], between: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[Any], Covered]:
        return self._scorer.score(documents, between)


class Scorer:
    """A teacher that scores documents of a student's tokens.

    Args:
        student: the tokenizer of the data.
        k: tokens to keep at each position.

    Raises:
        UserError: one of the tokenizers does not tell what its tokens stand for.
    """

    def __init__(self, teacher: Teacher, student: Tokenizer, k: int) -> None:
        folder = teacher.folder
        self._teacher = teacher
        self._student = byte_vocabulary(student, "the data's tokenizer")
        self._theirs = byte_vocabulary(folder.tokenizer, str(folder.path))
        size = int(teacher.model.get_output_embeddings().weight.shape[0])
        mapping = map_tokens(self._theirs, self._student)
        self._k = k
        self._top_k = StudentsTopK(mapping, size, student.vocab_size, k, teacher.device)

    def score(
        self, documents: Sequence[NDArray[Any]], between: Callable[[], None] = lambda: None
    ) -> tuple[NDArray[Any], Covered]:
        """Score documents.

        Args:
            documents: the student's tokens of each, its end among them.
            between: called before every batch.

        Returns:
            A record for each of their tokens, and how much of them the teacher covers.

        Raises:
            UserError: a logit is not finite.
        """
        lengths = [len(document) for document in documents]
        starts = [0, *accumulate(lengths)]
        ids = np.zeros((starts[-1], self._k), np.int64)
        probabilities = np.zeros((starts[-1], self._k))
        for batch, windows in batches(list(self._windows(documents)), self._teacher.longest):
            between()
            logits = logits_of(self._teacher, batch)
            for row, window in enumerate(windows):
                wanted = logits[row, torch.from_numpy(window.places).to(logits.device)]
                check_finite(wanted, self._teacher)
                places = window.rows + starts[window.document]
                ids[places], probabilities[places] = self._top_k(wanted)
        records = make_records(ids, probabilities)
        covered = int(records["codes"].any(axis=1).sum())
        return records, Covered(sum(max(length - 1, 0) for length in lengths), covered)

    def _windows(self, documents: Sequence[NDArray[Any]]) -> Iterator[Window]:
        for number, tokens in enumerate(documents):
            aligned = align(tokens, self._student, self._theirs)
            if aligned is not None:
                yield from cut(number, aligned, self._teacher.folder.first_id, self._teacher.longest)


@torch.inference_mode()
def logits_of(teacher: Teacher, ids: NDArray[np.int64]) -> Tensor:
    """Return a teacher's logits, [b, s, V], of ids [b, s] that are padded on the right, which causality hides."""
    output: Tensor = teacher.model(input_ids=torch.from_numpy(ids).to(teacher.device), use_cache=False).logits
    return output


def check_finite(logits: Tensor, teacher: Teacher) -> None:
    """Refuse a teacher that does not compute.

    Raises:
        UserError: a logit is not finite.
    """
    if not bool(torch.isfinite(logits).all()):
        raise UserError(
            f"{teacher.folder.path}: its logits are not all finite in {teacher.model.dtype}; set torch_dtype in its "
            "config.json to a wider one, or copy its weights again"
        )
