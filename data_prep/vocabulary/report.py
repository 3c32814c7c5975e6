"""What `danube prune-tokenizer` says of its result."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import orjson

from custom_modules.text import decimal_bytes, table
from data_prep.vocabulary.counted_text import TextSizes
from data_prep.work.progress import count


@dataclass(frozen=True)
class VocabularyFigure:
    """How well a vocabulary encodes the text that is held out."""

    vocabulary: str
    size: int
    """Tokens, the end of text among them."""
    bytes_a_token: float | None
    """None: no text is held out."""


@dataclass(frozen=True)
class PruningReport:
    """Where a pruned tokenizer comes from, and what it was measured on."""

    source: str
    """The name of the file with the tokens."""
    sha256: str
    text: TextSizes
    figures: Sequence[VocabularyFigure]

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def as_json(self) -> str:
        return orjson.dumps(self.as_dict(), option=orjson.OPT_INDENT_2).decode()

    def as_text(self) -> str:
        rows = [
            (figure.vocabulary, f"{figure.size:,}", f"{figure.bytes_a_token:.3f}" if figure.bytes_a_token else "-")
            for figure in self.figures
        ]
        text = self.text
        counted = f"{decimal_bytes(text.counted_bytes)} of {count(text.documents, 'document')}"
        held_out = f"{decimal_bytes(text.held_out_bytes)}, chosen by hash"
        return "\n".join(
            [
                f"counted   {counted}, {text.words:,} words; {text.distinct_words:,} are distinct, with those held out",
                f"held out  {held_out if text.held_out_bytes else 'nothing: there is too little text'}",
                *table(("vocabulary", "tokens", "bytes a token, held out"), rows),
            ]
        )
