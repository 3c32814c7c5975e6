"""Answers on disk as they come, so that a killed evaluation goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.json_lines import JsonLines
from custom_modules.scoring.passes import Pass
from custom_modules.settings import settle

LOG = "answers.jsonl"


class AnswerLog:
    """What a model has answered, a line a batch.

    An answer is known by all that the model reads for it. A pass whose rows are not all there is computed again.

    Args:
        output: the folder that has the log.
        settings: all else that answers depend on, such as the weights' digest.

    Raises:
        UserError: what is there was made with other settings, or is damaged.
    """

    def __init__(self, output: Path, settings: Mapping[str, Any]) -> None:
        self._lines = JsonLines(output / LOG)
        settle(self._lines.path, settings, bool(self._lines.records), output)
        self._known: dict[str, Any] = {}
        for record in self._lines.records:
            self._known.update(record)
        self._lines.records.clear()

    def known(self, passes: Iterable[Pass], keys: Sequence[str], lengths: Sequence[int]) -> dict[int, list[Any]]:
        """Return what the passes' rows have, of those passes that are whole, by their number.

        Args:
            keys: of each row.
            lengths: how many values each row has.

        Raises:
            UserError: there is another number of values.
        """
        found = {}
        for number, one_pass in enumerate(passes):
            if not all(keys[member] in self._known for member in one_pass.members):
                continue
            found[number] = [self._known[keys[member]] for member in one_pass.members]
            for member, values in zip(one_pass.members, found[number], strict=True):
                if not isinstance(values, list) or len(values) != lengths[member]:
                    raise UserError(f"{self._lines.path}: {keys[member]}: damaged; remove the file to begin anew")
        return found

    def add(self, passes: Sequence[Pass], keys: Sequence[str], computed: Mapping[int, Sequence[Any]]) -> None:
        """Put passes' answers on the disk.

        Raises:
            UserError: the disk refuses.
        """
        record = {
            keys[member]: values
            for number, rows in computed.items()
            for member, values in zip(passes[number].members, rows, strict=True)
        }
        self._lines.append(record)

    def close(self) -> None:
        """Close the file."""
        self._lines.close()
