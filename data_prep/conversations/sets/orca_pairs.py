"""Orca DPO Pairs: a question and two answers, under a system prompt."""

from __future__ import annotations

from data_prep.conversations.messages import Pair, optional_text_of, pair, text_of, user
from data_prep.conversations.reader import Fields, RowReader


class OrcaPairs(RowReader):
    """Reads ``system``, ``question``, ``chosen`` and ``rejected`` (Danube, section 6.2)."""

    name = "orca_dpo_pairs"
    kind = "pairs"
    columns = frozenset(("system", "question", "chosen", "rejected"))
    known_by = (columns,)

    def read(self, fields: Fields) -> Pair:
        """Return the pair."""
        answers = text_of(fields, "chosen"), text_of(fields, "rejected")
        return pair([user(text_of(fields, "question"))], *answers, optional_text_of(fields, "system"))
