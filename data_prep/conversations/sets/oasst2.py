"""Oasst2 for SFT: from each root the path of the best answers."""

from __future__ import annotations

from collections.abc import Iterator

from data_prep.conversations.messages import NOTHING_TO_LEARN, UnusableError, conversation
from data_prep.conversations.reader import Candidate, Fields, Joined, Outcome, Placed, Reader
from data_prep.conversations.sets.forest import COLUMNS, KNOWN_BY, Forest, Node, dropped, messages_of_tree

OFF_THE_PATH = "not on the path of rank 0"


class Oasst2(Reader):
    """Reads English conversations, from each root along the replies of rank 0 to the last answer (Danube, section 6.1).

    A question that goes on with it is the one of rank 0, or the only one where none was ranked. A conversation is
    counted with its root; the other messages of it are joined to that.
    """

    name = "oasst2"
    kind = "conversations"
    columns = COLUMNS
    known_by = KNOWN_BY
    reads_all_at_once = True

    def records(self, fields: Fields) -> list[Fields]:
        """Return the messages of a record."""
        return messages_of_tree(fields)

    def outcomes(self, records: Iterator[Placed]) -> Iterator[Outcome]:
        """Give an outcome for each message: conversations first, in the order of their roots."""
        forest = Forest(records)
        used: set[str] = set()
        for root in forest.roots:
            if not root.is_usable:
                continue
            path = best_path(root)
            used.add(root.identity)
            try:
                found = conversation([node.message for node in path])
            except UnusableError as fault:
                detail = "no answer of rank 0" if fault.reason == NOTHING_TO_LEARN else fault.detail
                yield dropped(root, fault.reason, detail)
                continue
            yield Candidate(root.place, found)
            for node in path[1:]:
                used.add(node.identity)
                yield Joined(node.place)
        yield from forest.others(used, OFF_THE_PATH)


def best_path(root: Node) -> list[Node]:
    """Return the messages from a root along the best replies to the last answer; the root alone where it has none."""
    path = [root]
    while reply := _best(path[-1]):
        path.append(reply)
    while len(path) > 1 and not path[-1].is_answer:
        path.pop()
    return path


def _best(node: Node) -> Node | None:
    replies = [reply for reply in node.replies if reply.is_answer != node.is_answer]
    ranked = [reply for reply in replies if reply.rank == 0]
    if not ranked and node.is_answer and len(replies) == 1 and replies[0].rank is None:
        ranked = replies
    return ranked[0] if ranked and ranked[0].is_usable else None
