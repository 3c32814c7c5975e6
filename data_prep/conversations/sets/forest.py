"""Oasst2's messages as trees: read flat or nested, each with what keeps it from being used."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from data_prep.conversations.messages import EMPTY, Message, UnreadableError, assistant, text_of, user
from data_prep.conversations.reader import Dropped, Fields, Outcome, Place, Placed, Refused

LANGUAGE = "en"
COLUMNS = frozenset(
    (
        "message_id",
        "parent_id",
        "role",
        "lang",
        "rank",
        "deleted",
        "review_result",
        "text",
        "message_tree_id",
        "prompt",
        "replies",
    )
)
KNOWN_BY = (
    frozenset(("message_id", "parent_id", "role", "lang", "text")),
    frozenset(("message_tree_id", "prompt")),
)
NOT_ENGLISH = "not English"
DELETED = "deleted"
REFUSED_BY_REVIEW = "refused by review"
BELOW_NO_ROOT = "below no root"
TWICE = "a message_id that is there before"


@dataclass(slots=True)
class Node:
    """One message."""

    place: Place
    identity: str
    parent: str | None
    role: str
    """``prompter`` or ``assistant``."""
    text: str
    rank: int | None
    """Among the replies to one parent, 0 the best; None where it was not ranked."""
    fault: tuple[str, str]
    """Why it must not be used, and what it was in this one; two empty texts where it may be."""
    replies: list[Node] = field(default_factory=list)

    @property
    def is_usable(self) -> bool:
        return not self.fault[0]

    @property
    def is_answer(self) -> bool:
        return self.role == "assistant"

    @property
    def message(self) -> Message:
        return assistant(self.text) if self.is_answer else user(self.text)


def dropped(node: Node, reason: str, detail: str = "") -> Dropped:
    """Return the outcome of a message that is not learnt from."""
    return Dropped(node.place, reason, detail, {"message_id": node.identity, "role": node.role, "text": node.text})


class Forest:
    """All messages of a source.

    Attributes:
        nodes: those that could be read, in their order.
        roots: of these, the ones without a parent.
        outcomes: of the records that could not be read, or are there twice.
    """

    def __init__(self, records: Iterator[Placed]) -> None:
        self.nodes: list[Node] = []
        self.outcomes: list[Outcome] = []
        self.by_identity: dict[str, Node] = {}
        for place, fields in records:
            try:
                self._add(place, fields)
            except UnreadableError as fault:
                self.outcomes.append(Refused(place, str(fault)))
        self.roots = [node for node in self.nodes if node.parent is None]
        for node in self.nodes:
            if node.parent is not None and (parent := self.by_identity.get(node.parent)):
                parent.replies.append(node)

    def _add(self, place: Place, fields: Fields) -> None:
        node = _node(place, fields)
        if node.identity in self.by_identity:
            self.outcomes.append(dropped(node, TWICE))
            return
        self.by_identity[node.identity] = node
        self.nodes.append(node)

    def reached(self) -> set[str]:
        """Return the messages that a root leads to."""
        found: set[str] = set()
        waiting = list(self.roots)
        while waiting:
            node = waiting.pop()
            found.add(node.identity)
            waiting += node.replies
        return found

    def others(self, used: set[str], reason: str) -> Iterator[Outcome]:
        """Give what became of the messages that are in nothing that is learnt from.

        Args:
            used: those that are.
            reason: of a message that may be used, and was not.
        """
        reached = self.reached()
        for node in self.nodes:
            if node.identity in used:
                continue
            if not node.is_usable:
                yield dropped(node, *node.fault)
            else:
                yield dropped(node, reason if node.identity in reached else BELOW_NO_ROOT)
        yield from self.outcomes


def messages_of_tree(fields: Fields) -> list[Fields]:
    """Return the message of a record, or all those of a tree, a parent before its replies.

    Raises:
        UnreadableError: something in the tree is no message.
    """
    if "message_id" in fields:
        return [fields]
    found: list[Fields] = []
    waiting: list[tuple[object, object]] = [(fields.get("prompt"), None)]
    while waiting:
        message, parent = waiting.pop()
        if not isinstance(message, Mapping):
            raise UnreadableError(f"a message of the tree is {type(message).__name__}, not an object")
        replies = message.get("replies") or []
        if not isinstance(replies, list):
            raise UnreadableError(f"'replies' is {type(replies).__name__}, not a list")
        found.append({**message, "parent_id": parent})
        waiting += [(reply, message.get("message_id")) for reply in reversed(replies)]
    return found


def _node(place: Place, fields: Fields) -> Node:
    role = text_of(fields, "role")
    if role not in ("prompter", "assistant"):
        raise UnreadableError(f"'role' is {role[:100]!r}, neither prompter nor assistant")
    parent, text = fields.get("parent_id"), text_of(fields, "text")
    if not (parent is None or isinstance(parent, str)):
        raise UnreadableError(f"'parent_id' is {type(parent).__name__}, not a string")
    return Node(
        place,
        text_of(fields, "message_id"),
        parent or None,
        role,
        text,
        _rank(fields.get("rank")),
        _fault(fields, text),
    )


def _rank(value: object) -> int | None:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise UnreadableError(f"'rank' is {str(value)[:100]}, no whole number")
    return int(value)


def _fault(fields: Fields, text: str) -> tuple[str, str]:
    if fields.get("lang") != LANGUAGE:
        return NOT_ENGLISH, str(fields.get("lang"))[:100]
    if fields.get("deleted"):
        return DELETED, ""
    if fields.get("review_result") is False:
        return REFUSED_BY_REVIEW, ""
    return ("", "") if text else (EMPTY, "")
