"""MetaMathQA: a problem and its solution in an element of one JSON array."""

from __future__ import annotations

from data_prep.conversations.messages import Conversation, assistant, conversation, text_of, user
from data_prep.conversations.reader import Fields, RowReader


class MetaMathQA(RowReader):
    """Reads ``query`` and ``response`` (Danube, section 6.1)."""

    name = "metamathqa"
    kind = "conversations"
    columns = frozenset(("query", "response"))
    known_by = (columns,)

    def read(self, fields: Fields) -> Conversation:
        """Return the problem with its solution."""
        return conversation([user(text_of(fields, "query")), assistant(text_of(fields, "response"))])
