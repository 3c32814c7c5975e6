"""UltraFeedback Binarized: two whole conversations in a row, which begin alike."""

from __future__ import annotations

from itertools import takewhile

from data_prep.conversations.messages import EQUAL, Pair, UnusableError, messages_of, pair
from data_prep.conversations.reader import Fields, RowReader
from data_prep.conversations.sets.own import last_answer


class UltraFeedback(RowReader):
    """Reads ``chosen`` and ``rejected``, messages whose common beginning is the prompt (Danube, section 6.2)."""

    name = "ultrafeedback"
    kind = "pairs"
    columns = frozenset(("chosen", "rejected"))
    known_by = (frozenset(("prompt_id", "chosen", "rejected")), columns)

    def read(self, fields: Fields) -> Pair:
        """Return the pair."""
        system, chosen = messages_of(fields, "chosen")
        other, rejected = messages_of(fields, "rejected")
        if chosen == rejected:
            raise UnusableError(EQUAL)
        alike = len(list(takewhile(lambda both: both[0] == both[1], zip(chosen, rejected, strict=False))))
        answers = last_answer(chosen[alike:], "chosen"), last_answer(rejected[alike:], "rejected")
        return pair(chosen[:alike], *answers, system if system == other else "")
