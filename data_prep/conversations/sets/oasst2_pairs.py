"""Oasst2 for DPO: of the ranked replies to a question, the best and the worst."""

from __future__ import annotations

from collections.abc import Iterator
from operator import attrgetter
from typing import NamedTuple

from data_prep.conversations.messages import UnusableError, pair
from data_prep.conversations.reader import Candidate, Fields, Joined, Outcome, Placed, Reader
from data_prep.conversations.sets.forest import COLUMNS, KNOWN_BY, Forest, Node, dropped, messages_of_tree

IN_NO_PAIR = "in no pair"
NOT_AT_AN_END = "not at the end of a conversation"


class _Ranked(NamedTuple):
    history: list[Node]
    """From the root to the question."""
    chosen: Node
    rejected: Node


class Oasst2Pairs(Reader):
    """Reads a pair for each English question with two or more ranked replies (Danube, section 6.2).

    The reply of the lowest rank is chosen, that of the highest rejected, and the prompt is the way from the root. A
    pair is counted with its chosen reply; the other messages of it are joined to that.
    """

    name = "oasst2_pairs"
    kind = "pairs"
    columns = COLUMNS
    known_by = KNOWN_BY
    reads_all_at_once = True
    ends_only = False
    """Whether a pair is left out whose chosen reply another one goes on from."""

    def records(self, fields: Fields) -> list[Fields]:
        """Return the messages of a record."""
        return messages_of_tree(fields)

    def outcomes(self, records: Iterator[Placed]) -> Iterator[Outcome]:
        """Give an outcome for each message: pairs first, in the order of their questions."""
        forest = Forest(records)
        ranked = list(_ranked(forest))
        inside = {node.identity for one in ranked for node in one.history} if self.ends_only else set()
        carrying: set[str] = set()
        parts: dict[str, Node] = {}
        for one in ranked:
            carrying.add(one.chosen.identity)
            if one.chosen.identity in inside:
                yield dropped(one.chosen, NOT_AT_AN_END)
                continue
            try:
                prompt = [node.message for node in one.history]
                found = pair(prompt, one.chosen.text, one.rejected.text)
            except UnusableError as fault:
                yield dropped(one.chosen, fault.reason, fault.detail)
                continue
            yield Candidate(one.chosen.place, found)
            parts |= {node.identity: node for node in (*one.history, one.rejected)}
        joined = [node for name, node in parts.items() if name not in carrying]
        yield from (Joined(node.place) for node in joined)
        yield from forest.others(carrying | {node.identity for node in joined}, IN_NO_PAIR)


class Oasst2PairsAtEnds(Oasst2Pairs):
    """Reads the pairs at the ends of conversations alone, as LLM Studio's ``limit_chained_samples`` does (assumed)."""

    name = "oasst2_pairs_ends_only"
    ends_only = True


def _ranked(forest: Forest) -> Iterator[_Ranked]:
    waiting = [[root] for root in reversed(forest.roots) if root.is_usable and not root.is_answer]
    while waiting:
        history = waiting.pop()
        question = history[-1]
        if not question.is_answer:
            replies = [reply for reply in question.replies if reply.is_answer and reply.is_usable]
            ranked = sorted((reply for reply in replies if reply.rank is not None), key=attrgetter("rank"))
            if len(ranked) > 1 and ranked[0].rank != ranked[-1].rank:
                yield _Ranked(history, ranked[0], ranked[-1])
        waiting += [
            [*history, reply]
            for reply in reversed(question.replies)
            if reply.is_usable and reply.is_answer != question.is_answer
        ]
