"""UltraChat200k: conversations of several turns, in files by split."""

from __future__ import annotations

from data_prep.conversations.sets.own import Messages


class UltraChat(Messages):
    """Reads ``messages`` (Danube, section 6.1), which stand beside ``prompt`` and ``prompt_id``."""

    name = "ultrachat"
    known_by = (frozenset(("messages", "prompt", "prompt_id")),)
