"""Pairs of answers as tokens: what lies in a Parquet file of messages, with the export's own prompt format."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custom_modules.errors import UserError
from custom_modules.files import readable

if TYPE_CHECKING:
    from datasets import Dataset

AT_ONCE = 1_000
"""Rows that are encoded at a time."""


@dataclass(frozen=True)
class Pairs:
    """Prompts, each with an answer that was chosen and one that was rejected, in tokens.

    Attributes:
        prompts, chosen, rejected: ids, in the same order. An answer is the last one alone, with its end of turn; all
            turns before it are the prompt's.
    """

    prompts: list[list[int]]
    chosen: list[list[int]]
    rejected: list[list[int]]

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def tokens(self) -> list[int]:
        """Tokens of each pair, as a model reads it: the prompt twice, and both answers."""
        answers = zip(self.prompts, self.chosen, self.rejected, strict=True)
        return [2 * len(prompt) + len(chosen) + len(rejected) for prompt, chosen, rejected in answers]

    def example(self, number: int) -> dict[str, list[int]]:
        """Return a pair under the names that trl's collator takes."""
        answers = self.chosen[number], self.rejected[number]
        return {"prompt_ids": self.prompts[number], "chosen_ids": answers[0], "rejected_ids": answers[1]}

    def as_dataset(self) -> Dataset:
        """Return what trl's trainer takes, in memory: nothing is written into anybody's cache."""
        from datasets import Dataset

        columns = {"prompt_ids": self.prompts, "chosen_ids": self.chosen, "rejected_ids": self.rejected}
        return Dataset.from_dict(columns)


def read_pairs(path: Path, tokenizer: Any, max_length: int) -> Pairs:
    """Read and encode a Parquet file of pairs.

    Args:
        path: with the columns prompt, chosen and rejected, lists of messages.
        tokenizer: transformers', with the chat template.
        max_length: the most tokens of a prompt with one of its answers.

    Raises:
        UserError: a row has an answer that does not follow its prompt, or a prompt that is too long; names it.
    """
    pairs = Pairs([], [], [])
    for first, rows in _rows(path):
        prompt_ids = _encode(tokenizer, [_render(tokenizer, row["prompt"], begins_answer=True) for row in rows])
        for side, answers in (("chosen", pairs.chosen), ("rejected", pairs.rejected)):
            whole = [_render(tokenizer, [*row["prompt"], *row[side]]) for row in rows]
            for number, (prompt, ids) in enumerate(zip(prompt_ids, _encode(tokenizer, whole), strict=True), first):
                if ids[: len(prompt)] != prompt or not len(prompt) < min(len(ids), max_length):
                    raise UserError(
                        f"{path}: row {number}: {side} is no answer to its prompt in model.encoder_seq_length="
                        f"{max_length} tokens; prepare the data with the tokenizer of model.restore_from_path"
                    )
                # An answer that was cut at its end is a few tokens longer, with an end that it never had.
                answers.append(ids[len(prompt) : max_length])
        pairs.prompts.extend(prompt_ids)
    return pairs


def _rows(path: Path) -> Iterator[tuple[int, Sequence[dict[str, Any]]]]:
    """Yield rows with the number of the first, so many at a time."""
    import pyarrow.parquet

    first = 0
    with readable(path):
        for batch in pyarrow.parquet.ParquetFile(path).iter_batches(AT_ONCE, columns=["prompt", "chosen", "rejected"]):
            yield first, batch.to_pylist()
            first += len(batch)


def _render(tokenizer: Any, messages: Sequence[dict[str, Any]], begins_answer: bool = False) -> str:
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=begins_answer)
    return text


def _encode(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    ids: list[list[int]] = tokenizer(list(texts), add_special_tokens=False)["input_ids"]
    return ids
