"""Distilabel Math Preference DPO: a problem and two solutions."""

from __future__ import annotations

from data_prep.conversations.messages import Pair, pair, text_of, user
from data_prep.conversations.reader import Fields, RowReader


class DistilabelMath(RowReader):
    """Reads ``instruction``, ``chosen_response`` and ``rejected_response`` (Danube, section 6.2)."""

    name = "distilabel_math"
    kind = "pairs"
    columns = frozenset(("instruction", "chosen_response", "rejected_response"))
    known_by = (columns,)

    def read(self, fields: Fields) -> Pair:
        """Return the pair."""
        answers = text_of(fields, "chosen_response"), text_of(fields, "rejected_response")
        return pair([user(text_of(fields, "instruction"))], *answers)
