"""The sets, a module each with its columns, and the table of them."""

from __future__ import annotations

from collections.abc import Collection

from data_prep.conversations.messages import Kind
from data_prep.conversations.reader import Reader
from data_prep.conversations.sets.distilabel import DistilabelMath
from data_prep.conversations.sets.metamathqa import MetaMathQA
from data_prep.conversations.sets.oasst2 import Oasst2
from data_prep.conversations.sets.oasst2_pairs import Oasst2Pairs, Oasst2PairsAtEnds
from data_prep.conversations.sets.openorca import OpenOrca
from data_prep.conversations.sets.orca_pairs import OrcaPairs
from data_prep.conversations.sets.own import Messages, Pairs
from data_prep.conversations.sets.ultrachat import UltraChat
from data_prep.conversations.sets.ultrafeedback import UltraFeedback

READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        OpenOrca(),
        MetaMathQA(),
        Oasst2(),
        UltraChat(),
        Messages(),
        OrcaPairs(),
        DistilabelMath(),
        UltraFeedback(),
        Pairs(),
        Oasst2Pairs(),
        Oasst2PairsAtEnds(),
    )
}
"""By name."""


def tell_set(columns: Collection[str], kind: Kind) -> Reader | None:
    """Return the reader of the set that has most of some columns; None where no set of that kind is theirs."""
    readers = [reader for reader in READERS.values() if reader.kind == kind]
    best = max(readers, key=lambda reader: reader.known_columns(columns))
    return best if best.known_columns(columns) else None
