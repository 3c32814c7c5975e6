"""The small sentence encoder that a rehearsal trains: `data_prep.semantic` reads it, and it tells documents apart."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from data_prep.rehearsal import sentence_encoder
from data_prep.semantic.encoder import SentenceEncoder
from tests.support.tiny import TINY, prepare

TOPICS = 70


def write_documents(path: Path, source: random.Random, words: list[str]) -> list[tuple[str, str]]:
    """One line a topic, whose words are its own; returns two further texts of each."""
    pairs = []
    lines = []
    for _ in range(TOPICS):
        own = source.sample(words, 8)
        text, one, other = (" ".join(source.choices(own, k=60)) for _ in range(3))
        lines.append(json.dumps({"text": text}))
        pairs.append((one, other))
    path.write_text("\n".join(lines) + "\n")
    return pairs


@pytest.mark.slow
def test_texts_of_a_topic_lie_nearer_than_those_of_another(tmp_path: Path) -> None:
    prepare(tmp_path, 300, TINY)
    source = random.Random(3)
    words = sorted(
        {
            word
            for line in (tmp_path / "text.jsonl").read_text().splitlines()
            for word in json.loads(line)["text"].split()
        }
    )
    pairs = write_documents(tmp_path / "topics.jsonl", source, words)
    given = [
        str(tmp_path / "encoder"),
        "--on",
        str(tmp_path / "topics.jsonl"),
        "--tokenizer",
        str(tmp_path / "tokenizer.model"),
    ]
    assert sentence_encoder.main([*given, "--steps", "40"]) == 0
    encoder = SentenceEncoder(tmp_path / "encoder")
    first, second = (encoder.embed([pair[side] for pair in pairs]) for side in (0, 1))
    cosines = first @ second.T
    own = np.diag(cosines)
    others = cosines[~np.eye(TOPICS, dtype=bool)]
    assert own.mean() - others.mean() > 0.3
    assert (cosines.argmax(axis=1) == np.arange(TOPICS)).mean() > 0.5


def test_too_few_documents_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "one.jsonl").write_text(json.dumps({"text": "a text"}) + "\n")
    given = [
        str(tmp_path / "encoder"),
        "--on",
        str(tmp_path / "one.jsonl"),
        "--tokenizer",
        str(tmp_path / "none.model"),
    ]
    assert sentence_encoder.main(given) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "encoder").exists()
