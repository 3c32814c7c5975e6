"""OpenOrca: a question and its answer in a row, under a system prompt."""

from __future__ import annotations

from data_prep.conversations.messages import Conversation, assistant, conversation, optional_text_of, text_of, user
from data_prep.conversations.reader import Fields, RowReader


class OpenOrca(RowReader):
    """Reads ``system_prompt``, ``question`` and ``response`` (Danube, section 6.1)."""

    name = "openorca"
    kind = "conversations"
    columns = frozenset(("system_prompt", "question", "response"))
    known_by = (columns,)

    def read(self, fields: Fields) -> Conversation:
        """Return the question with its answer."""
        question, response = text_of(fields, "question"), text_of(fields, "response")
        return conversation([user(question), assistant(response)], optional_text_of(fields, "system_prompt"))
