"""What prepared conversations and prepared pairs have alike."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from custom_modules.data.chat_manifest import ChatManifest
from custom_modules.data.layout import TOKENIZER


@dataclass(frozen=True)
class PreparedChats:
    """What `danube prepare` left in a ``data.dir``."""

    manifest: ChatManifest

    @property
    def path(self) -> Path:
        """``data.dir``."""
        return self.manifest.directory

    @property
    def tokenizer_dir(self) -> Path:
        """The folder that `ChatTokenizer.load` reads."""
        return self.path / TOKENIZER

    @property
    def tokenizer_sha256(self) -> str:
        return self.manifest.tokenizer.sha256

    def digest(self) -> str:
        """Identify the training data, for a run that goes on with it."""
        return self.manifest.digest()

    def verify(self) -> None:
        """Compare every file with its size and hash.

        Raises:
            UserError: one differs.
        """
        self.manifest.verify()
