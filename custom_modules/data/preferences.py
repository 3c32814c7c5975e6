"""Prepared pairs of answers, as `danube dpo` reads them. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from custom_modules.data.chat_manifest import PAIRS, load_chat_manifest
from custom_modules.data.prepared_chats import PreparedChats

if TYPE_CHECKING:
    from custom_modules.config.dpo import DpoConfig


@dataclass(frozen=True)
class Preferences(PreparedChats):
    """All that `danube prepare` left for a run of DPO: Parquet files with ``prompt``, ``chosen`` and ``rejected``.

    Each is a list of messages, ``{role, content}``: a prompt ends with a question, and a side is one answer. With the
    prompt format they have ``model.encoder_seq_length`` tokens at most; but an answer that was cut at its end has a few
    more, so that a trainer that cuts at that length leaves out its end token, too.
    """

    @property
    def train(self) -> Path:
        """The file of the pairs to train on."""
        return self.path / "train" / PAIRS

    @property
    def validation(self) -> Path:
        """The file of the pairs that are held out."""
        return self.path / "validation" / PAIRS

    @property
    def train_pairs(self) -> int:
        return self.manifest.splits["train"].samples

    @property
    def validation_pairs(self) -> int:
        return self.manifest.splits["validation"].samples


def load_preferences(config: DpoConfig) -> Preferences:
    """Find what is prepared in ``data.dir``.

    Raises:
        UserError: nothing is, something else is, or it is cut to another length than the config's.
    """
    return Preferences(load_chat_manifest(config.data.dir, "pairs", config.model.encoder_seq_length))
