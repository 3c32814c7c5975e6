"""Small sets of conversations and pairs as files, and what `danube prepare` made of them, read back."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.data.conversations import Conversations, Samples
from custom_modules.data.preferences import Preferences

Row = Mapping[str, Any]
Message = dict[str, str]


def turns(*contents: str) -> list[Message]:
    """Messages of a user and an assistant in turn."""
    return [{"role": "assistant" if number % 2 else "user", "content": text} for number, text in enumerate(contents)]


def write_lines(path: Path, rows: Iterable[Row | str]) -> Path:
    """JSON lines, gzipped where the name says so; a text is a line as it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = "".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows).encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def write_array(path: Path, rows: Sequence[Row], indent: int | None = 2) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows, indent=indent))
    return path


def write_parquet(path: Path, rows: Sequence[Row], row_group_size: int | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path, row_group_size=row_group_size)
    return path


def source(name: str, path: Path | str, **more: object) -> list[str]:
    """The overrides of a source."""
    return [f"data.sources.{name}.{key}={value}" for key, value in {"path": path, **more}.items()]


def rendered(prepared: Conversations) -> set[str]:
    """All samples as text with control tokens, whatever the split, in no order."""
    tokenizer = ChatTokenizer.load(prepared.tokenizer_dir)
    return {text for split in (prepared.train, prepared.validation) for text in texts_of(split, tokenizer)}


def texts_of(samples: Samples, tokenizer: ChatTokenizer) -> list[str]:
    """The text of each sample, an end token as ``</s>``."""
    found = []
    for number in range(len(samples)):
        pieces: list[str] = []
        run: list[int] = []
        for token in samples[number][0].tolist():
            if token == tokenizer.eos_id:
                pieces += [tokenizer.decode(run), "</s>"]
                run = []
            else:
                run.append(token)
        found.append("".join([*pieces, tokenizer.decode(run)]))
    return found


def formatted(messages: Sequence[Message]) -> str:
    """The report's prompt format, written down once more."""
    marks = {"user": "<|prompt|>", "assistant": "<|answer|>"}
    return "".join(f"{marks[message['role']]}{message['content']}</s>" for message in messages)


def pairs_of(prepared: Preferences) -> list[dict[str, list[Message]]]:
    """All pairs, whatever the split."""
    rows: list[dict[str, list[Message]]] = []
    for path in (prepared.train, prepared.validation):
        rows += parquet.read_table(path).to_pylist()
    return rows
