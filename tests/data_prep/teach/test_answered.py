"""Rows of an API's log-probabilities of documents' own texts."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custom_modules.data.manifest import load_manifest
from custom_modules.distillation.quantised import dequantise
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.training.signals import StopRequest
from data_prep.teach.answered import AnsweredRows
from data_prep.teach.answers import Answers
from data_prep.teach.command import TeachOptions, teach
from data_prep.teach.continuation import text_hash
from data_prep.teach.parts import distilled_parts
from data_prep.teach.vocabulary import ByteVocabulary
from tests.support.distilled import config_of, parts_of
from tests.support.teachers import write_byte_level, write_sentencepiece

TEXT = "the same words, said again: naïve 你好 and the end"
OTHERS = ((" the", 0.2), (" zebra", 0.05))


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    return load_tokenizer("sentencepiece", write_sentencepiece(tmp_path_factory.mktemp("student")))


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> ByteVocabulary:
    return ByteVocabulary(load_tokenizer("huggingface", write_byte_level(tmp_path_factory.mktemp("api"))))


def entry(content: bytes, probability: float, top: tuple[tuple[str, float], ...] = OTHERS) -> dict[str, Any]:
    def one(content: bytes, probability: float) -> dict[str, Any]:
        return {
            "token": content.decode(errors="replace"),
            "bytes": list(content),
            "logprob": math.log(probability),
        }

    own = one(content, probability)
    return {**own, "top_logprobs": [own, *(one(text.encode(), share) for text, share in top)]}


def answer(api: ByteVocabulary, text: str, of: str, probability: float = 0.6) -> dict[str, Any]:
    """What an API says of the end of a text, cut as its own tokenizer cuts it."""
    begins = api.begins(api.tokenizer.encode(of), of.encode())
    assert begins is not None
    pieces = [of.encode()[begin:end] for begin, end in zip(begins.tolist(), begins.tolist()[1:], strict=False)]
    content = [entry(piece, probability) for piece in pieces]
    return {"hash": text_hash(text), "text": of, "logprobs": {"content": content}}


def scored(student: Tokenizer, folder: Path, *answers: dict[str, Any]) -> tuple[Any, Any, list[int]]:
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(each) + "\n" for each in answers))
    tokens = [*student.encode(TEXT), student.eos_id]
    rows, covered = AnsweredRows(Answers([path]), student, 4).score([np.array(tokens)])
    return rows, covered, tokens


@pytest.mark.parametrize("of", [TEXT, TEXT[10:]])
def test_what_is_said_of_a_documents_own_text(of: str, student: Tokenizer, api: ByteVocabulary, tmp_path: Path) -> None:
    records, covered, tokens = scored(student, tmp_path, answer(api, TEXT, of))
    own = ByteVocabulary(student)
    begins, theirs = own.begins(tokens[:-1], TEXT.encode()), api.begins(api.tokenizer.encode(of), of.encode())
    assert begins is not None and theirs is not None
    pieces = {int(begin) + len(TEXT.encode()) - len(of.encode()): int(begin) for begin in theirs[:-1]}
    said = 0
    for row, (ids, codes) in enumerate(zip(records["ids"], records["codes"], strict=True)):
        place = int(begins[row + 1]) if row + 1 < len(tokens) - 1 else None
        if place not in pieces:
            assert not codes.any()
            continue
        said += 1
        begin = pieces[place]
        end = int(theirs[np.searchsorted(theirs, begin, side="right")])
        row_of = dict(zip(ids.tolist(), dequantise(codes).tolist(), strict=True))
        (first,) = own.first_tokens([of.encode()[begin:end]]).tolist()
        assert row_of[first] >= 0.59
        assert sum(row_of.values()) == pytest.approx(0.85, abs=0.02)
    assert covered.covered == said > 10


def test_what_a_teacher_wrote_itself_is_no_row(student: Tokenizer, api: ByteVocabulary, tmp_path: Path) -> None:
    other = {**answer(api, TEXT, "quite another text"), "text": "quite another text"}
    bare = {"hash": text_hash(TEXT), "text": TEXT}
    records, covered, _ = scored(student, tmp_path, other, bare)
    assert not records["codes"].any() and covered.covered == 0


def test_probabilities_above_1_are_refused(student: Tokenizer, api: ByteVocabulary, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"answer to [0-9a-f]{64}: the probabilities of token .* add up to .* above 1"):
        scored(student, tmp_path, answer(api, TEXT, TEXT, probability=0.9))


def test_the_command(data: Path, api: ByteVocabulary, tmp_path: Path) -> None:
    prompts = tmp_path / "prompts.jsonl"
    config = config_of(data, "trainer.devices=1")
    assert teach(config, TeachOptions("api", prompts=prompts), (), StopRequest()) == 0
    hashes = [json.loads(line)["hash"] for line in prompts.read_text().splitlines()]
    tokenizer = load_tokenizer("sentencepiece", tmp_path / "tokenizer.model")
    texts: list[str] = []
    for part in distilled_parts(load_manifest(config)):
        for shard in part.shards(1 << 20):
            texts += [tokenizer.decode(tokens[:-1].tolist()) for tokens in part.documents(shard)]
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps(answer(api, text, text)) + "\n" for text in texts))
    assert set(hashes) <= {text_hash(text) for text in texts}
    assert teach(config, TeachOptions("llama", answers=[answers]), (), StopRequest()) == 0
    for entry_of_part in parts_of(data):
        note = json.loads((data / f"{entry_of_part['prefix']}.llama.rows.json").read_bytes())
        assert 0.5 < note["covered"] / note["positions"] < 1
