"""What a rehearsal's small models make up, and the form in which they answer."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from custom_modules.conversion.local_model import load_model
from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.vocabulary import Kind
from data_prep.rehearsal import answers, generated
from data_prep.rehearsal.sampling import Sampler
from data_prep.teach.answers import read_answer
from data_prep.teach.teacher import load_teacher, open_teacher

SAID = (Kind.TEXT, Kind.BYTE)
PROMPTS = ["", "the quick", "a much longer beginning of a text, and of another length than its neighbours'"]


def sampler(folder: Path, seed: int = 1, top: int = 3) -> Sampler:
    return Sampler(load_teacher(open_teacher(folder), torch.device("cpu"), None), seed, top)


@pytest.mark.slow
def test_log_probabilities_are_those_of_the_model_behind_its_own_tokens(llama: Path) -> None:
    """Each prompt alone and without a cache, where the sampler has all of them side by side."""
    model, tokenizer = load_model(llama), load_tokenizer("huggingface", llama)
    first = open_teacher(llama).first_id
    contents = {token.content: index for index, token in enumerate(tokenizer.tokens()) if token.kind in SAID}
    for prompt, found in zip(PROMPTS, sampler(llama).continue_texts(PROMPTS, 12), strict=True):
        assert 0 < len(found.tokens) <= 12
        begin = [first, *(tokenizer.encode(prompt) if prompt else [])]
        drawn = [contents[token.content] for token in found.tokens]
        with torch.no_grad():
            logits = model(torch.tensor([[*begin, *drawn]])).logits[0, len(begin) - 1 : -1].double()
        said = torch.tensor(sorted({*contents.values(), tokenizer.eos_id}))
        expected = torch.full_like(logits, -torch.inf)
        expected[:, said] = logits[:, said].log_softmax(dim=-1)
        for row, index, token in zip(expected, drawn, found.tokens, strict=True):
            assert token.log_probability == pytest.approx(float(row[index]), abs=1e-4)
            best = {index: value for value, index in zip(*map(torch.Tensor.tolist, row.topk(3)), strict=True)}
            best.pop(tokenizer.eos_id, None)
            assert [value for _, value in token.others] == pytest.approx([*best.values()], abs=1e-4)


@pytest.mark.slow
def test_the_same_seed_draws_the_same(llama: Path) -> None:
    once, again, other = ([*sampler(llama, seed).continue_texts(PROMPTS, 16)] for seed in (1, 1, 2))
    assert once == again != other


@pytest.mark.slow
def test_answers_are_what_teach_imports(llama: Path, tmp_path: Path) -> None:
    asked = [{"hash": hashlib.sha256(text.encode()).hexdigest(), "prompt": text, "max_tokens": 9} for text in PROMPTS]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(one) + "\n" for one in asked))
    file = tmp_path / "answers.jsonl"
    assert answers.main([str(llama), str(tmp_path / "prompts.jsonl"), str(file), "--max-tokens", "9"]) == 0
    lines = file.read_bytes().splitlines()
    for one, line in zip(asked, lines, strict=True):
        answer = read_answer(line, "here")
        assert answer.hash == one["hash"] and answer.content is not None
        whole = b"".join(bytes(entry["bytes"]) for entry in answer.content)
        assert whole.decode(errors="ignore") == answer.text
        for entry in answer.content:
            values = [other["logprob"] for other in entry["top_logprobs"]]
            assert values == sorted(values, reverse=True) and np.exp(values).sum() <= 1 + 1e-6


@pytest.mark.slow
def test_made_up_texts_are_documents(llama: Path, tmp_path: Path) -> None:
    file = tmp_path / "generated.jsonl"
    assert generated.main([str(llama), str(file), "--texts", "5", "--max-tokens", "20"]) == 0
    texts = [json.loads(line)["text"] for line in file.read_bytes().splitlines()]
    assert 0 < len(texts) <= 5 and all(text.strip() for text in texts)


def test_a_folder_without_a_model_is_refused_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert generated.main([str(tmp_path), str(tmp_path / "file")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not (tmp_path / "file").exists()
