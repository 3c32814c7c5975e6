"""Teachers' texts: what they begin with, what is drawn, what is taken from an API, and what is refused."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custom_modules.config.schema import Config
from custom_modules.data.check import check_data
from custom_modules.data.index import open_index
from custom_modules.data.manifest import load_manifest
from custom_modules.distillation.texts import check_texts, read_texts_note, texts_note_file, texts_prefix
from custom_modules.errors import UserError
from custom_modules.tokenizer import load_tokenizer
from custom_modules.training.signals import StopRequest
from data_prep.teach.command import TeachOptions, teach
from data_prep.teach.continuation import continued, opening, text_hash
from data_prep.teach.drawn import Prompt, Sampling, draw
from data_prep.teach.parts import distilled_parts
from data_prep.teach.teacher import load_teacher, open_teacher
from data_prep.teach.vocabulary import ByteVocabulary
from tests.support.distilled import config_of
from tests.support.teachers import write_byte_level, write_sentencepiece
from tests.support.tokenizers import ENGLISH

PREFIX = 8
FULL = Sampling(1.0, 1.0)
ALL = np.ones(448, bool)


def texts_of(config: Config, teacher: str) -> dict[str, list[list[int]]]:
    """The alternatives of each distilled part, by its stage."""
    found = {}
    for part in distilled_parts(load_manifest(config)):
        prefix = texts_prefix(part.part.prefix, teacher)
        index = open_index(prefix.with_name(f"{prefix.name}.idx"))
        tokens = np.fromfile(prefix.with_name(f"{prefix.name}.bin"), index.dtype)
        found[part.stage] = [each.tolist() for each in np.split(tokens, np.cumsum(index.lengths)[:-1])]
    return found


def documents_of(config: Config) -> dict[str, list[list[int]]]:
    """The documents of each distilled part, by its stage."""
    return {
        part.stage: [each.tolist() for shard in part.shards(1 << 20) for each in part.documents(shard)]
        for part in distilled_parts(load_manifest(config))
    }


def run(data: Path, options: TeachOptions, *overrides: str) -> Config:
    config = config_of(data, "trainer.devices=1", *overrides)
    assert teach(config, options, (), StopRequest()) == 0
    return config


@pytest.fixture(scope="module", params=["bytes", "pieces"])
def student(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ByteVocabulary:
    folder = tmp_path_factory.mktemp("student")
    if request.param == "bytes":
        return ByteVocabulary(load_tokenizer("huggingface", write_byte_level(folder)))
    return ByteVocabulary(load_tokenizer("sentencepiece", write_sentencepiece(folder)))


@pytest.mark.parametrize(
    "text", [ENGLISH[0][:300], "naïve 你好 世界 🧑‍🚀 and so on", "aaaa bbbb  cccc\n\ndddd eeee ffff"]
)
@pytest.mark.parametrize("tail", ["", " and more", "more", "\n", "é🧑‍🚀", " " * 5])
def test_a_continuation_keeps_the_openings_tokens(text: str, tail: str, student: ByteVocabulary) -> None:
    eos_id = student.tokenizer.eos_id
    tokens = np.array([*student.tokenizer.encode(text), eos_id])
    for prefix in range(1, len(tokens) - 1):
        one = opening(tokens, student, prefix)
        if one is None:
            assert text.endswith("🚀") or prefix > len(tokens) - 5
            continue
        assert one.hash == text_hash(text) and one.text + one.rest == text
        assert one.ids == tokens[: len(one.ids)].tolist() and prefix <= len(one.ids) <= prefix + 3
        same = continued(one, one.rest, True, student)
        assert same is not None and same[: len(one.ids)] == one.ids and len(same) <= len(tokens)
        other = continued(one, tail, False, student)
        if not tail:
            assert other is None
            continue
        assert other is not None and other[: len(one.ids)] == one.ids
        whole = b"".join(student.contents[index] for index in other).removeprefix(b" " if text[0] != " " else b"")
        expected = (one.text + tail).encode()
        assert whole == expected or (len(other) == len(tokens) and expected.startswith(whole))
    assert opening(tokens, student, len(tokens) - 1) is None


def test_what_is_drawn_does_not_depend_on_its_company(llama: Path) -> None:
    teacher = load_teacher(open_teacher(llama), torch.device("cpu"), None)
    ids = teacher.folder.tokenizer.encode(ENGLISH[0])
    prompts = [Prompt([0, *ids[: 5 + number]], 6 + number, 1000 + number) for number in range(11)]
    together = draw(teacher, prompts, FULL, ALL, lambda: None)
    for number in (0, 4, 10):
        assert draw(teacher, [prompts[number]], FULL, ALL, lambda: None) == [together[number]]
    for (found, ended), prompt in zip(together, prompts, strict=True):
        assert len(found) <= prompt.most and (ended or len(found) == prompt.most)
    assert draw(teacher, [Prompt([0, *ids[:250], *ids[:50]], 5, 1)], FULL, ALL, lambda: None) == [([], False)]


@pytest.mark.slow
def test_draws_follow_the_teachers_distribution(llama: Path) -> None:
    """Against the probabilities of the first token behind a prompt, and of the nucleus of it alone."""
    teacher = load_teacher(open_teacher(llama), torch.device("cpu"), None)
    ids = [0, *teacher.folder.tokenizer.encode("It is")]
    with torch.no_grad():
        exact = torch.softmax(teacher.model(torch.tensor([ids])).logits[0, -1].double() / 0.7, -1).numpy()
    drawn = draw(teacher, [Prompt(ids, 1, seed) for seed in range(800)], Sampling(0.7, 1.0), ALL, lambda: None)
    eos_id = teacher.folder.tokenizer.eos_id
    counts = Counter(found[0] if found else eos_id for found, _ in drawn)
    for index in np.argsort(-exact)[:5].tolist():
        spread = 4.5 * (exact[index] * (1 - exact[index]) / 800) ** 0.5
        assert abs(counts[index] / 800 - exact[index]) < spread
    order = np.argsort(-exact)
    nucleus = set(order[: int(np.searchsorted(np.cumsum(exact[order]), 0.5)) + 1].tolist())
    drawn = draw(teacher, [Prompt(ids, 1, seed) for seed in range(160)], Sampling(0.7, 0.5), ALL, lambda: None)
    assert {found[0] if found else eos_id for found, _ in drawn} <= nucleus


def test_a_teacher_continues_each_distilled_document(data: Path, llama: Path, tmp_path: Path) -> None:
    import shutil

    shutil.copytree(data, tmp_path / "again" / "data")
    shutil.copy(tmp_path / "tokenizer.model", tmp_path / "again")
    config = run(data, TeachOptions("api", llama, texts=True, shard_tokens=900))
    found, documents = texts_of(config, "api"), documents_of(config)
    eos_id = load_manifest(config).eos_id
    differ = 0
    for stage, texts in found.items():
        assert len(texts) == len(documents[stage])
        for text, document in zip(texts, documents[stage], strict=True):
            if text == [eos_id]:
                continue
            assert text[:PREFIX] == document[:PREFIX] and PREFIX < len(text) <= len(document)
            assert eos_id not in text[:-1]
            differ += text != document
    assert differ > 50
    assert list(check_data(data)) == []
    for part in distilled_parts(load_manifest(config)):
        note = check_texts(part.part.prefix, "api", part.data, part.part.documents, PREFIX)
        assert note.texts + note.too_short + note.without + note.dropped == note.documents
        assert note.texts == sum(text != [eos_id] for text in found[part.stage])
    again = run(tmp_path / "again" / "data", TeachOptions("api", llama, texts=True, shard_tokens=3000))
    assert texts_of(again, "api") == found, "the shards change nothing"


def answers_for(data: Path, folder: Path, text: str, **more: Any) -> Path:
    """Answer every prompt with one text."""
    run(data, TeachOptions("api", prompts=folder / "prompts.jsonl"))
    lines = [json.loads(line) for line in (folder / "prompts.jsonl").read_text().splitlines()]
    answers = folder / "answers.jsonl"
    answers.write_text("".join(json.dumps({"hash": line["hash"], "text": text, **more}) + "\n" for line in lines))
    return answers


def test_prompts_are_answered_and_taken(data: Path, tmp_path: Path) -> None:
    config = config_of(data)
    content = [{"token": " x", "logprob": -0.5, "bytes": [32, 120], "top_logprobs": []}]
    answers = answers_for(data, tmp_path, " x", logprobs={"content": content})
    prompts = [json.loads(line) for line in (tmp_path / "prompts.jsonl").read_text().splitlines()]
    tokenizer = load_tokenizer("sentencepiece", tmp_path / "tokenizer.model")
    known = {text_hash(tokenizer.decode(ids[:-1])): ids for every in documents_of(config).values() for ids in every}
    for prompt in prompts:
        ids = known[prompt["hash"]]
        assert tokenizer.decode(ids).startswith(prompt["prompt"])
        assert prompt["max_tokens"] == len(ids) - PREFIX
    run(data, TeachOptions("api", answers=[answers]))
    for texts in texts_of(config, "api").values():
        for text in texts:
            assert text == [tokenizer.eos_id] or tokenizer.decode(text[PREFIX:]).strip() in ("x", "")
            assert text[-1] == tokenizer.eos_id or len(text) == PREFIX + 1
    assert list(check_data(data)) == []


def test_documents_without_an_answer_have_none(data: Path, tmp_path: Path) -> None:
    answers = answers_for(data, tmp_path, " ok", finish_reason="length")
    kept = answers.read_text().splitlines(keepends=True)
    answers.write_text("".join(kept[::2]))
    config = run(data, TeachOptions("api", answers=[answers]))
    notes = [
        read_texts_note(texts_note_file(part.part.prefix, "api")) for part in distilled_parts(load_manifest(config))
    ]
    assert sum(note.texts for note in notes) == len(kept[::2])
    assert sum(note.without for note in notes) == len(kept[1::2])
    eos_id = load_manifest(config).eos_id
    for texts in texts_of(config, "api").values():
        assert all(text == [eos_id] or text[-1] != eos_id for text in texts), "cut for its length, so it does not end"


def test_a_benchmarks_text_is_asked_for_again_and_then_dropped(data: Path, tmp_path: Path) -> None:
    leak = " ".join(f"leaked{number}" for number in range(20))
    benchmark = tmp_path / "bench.jsonl"
    benchmark.write_text(json.dumps({"question": leak}) + "\n")
    leaking = answers_for(data, tmp_path, f" {leak}").read_text().splitlines(keepends=True)
    clean = answers_for(data, tmp_path, " all clean").read_text().splitlines(keepends=True)
    # The first documents leak at every try, the next twice, then once, the others never.
    lines = [*leaking[:4] * 5, *leaking[4:9] * 2, *clean[4:9], *leaking[9:15], *clean[9:15], *clean[15:]]
    answers = tmp_path / "mixed.jsonl"
    answers.write_text("".join(lines))
    step = f"data.steps.decontaminate={{files: [{benchmark}]}}"
    config = run(data, TeachOptions("api", answers=[answers]), step, "distillation.tries=3")
    notes = [
        read_texts_note(texts_note_file(part.part.prefix, "api")) for part in distilled_parts(load_manifest(config))
    ]
    assert sum(note.dropped for note in notes) == 4
    assert sum(note.generated_again for note in notes) == 4 * 3 + 5 * 2 + 6
    assert sum(note.texts for note in notes) == len(clean) - 4
    card = (data / "data_card.md").read_text()
    assert "generated again" in card and "dropped" in card


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("{", "not JSON"),
        ("[]", "no object"),
        ('{"text": "x"}', "hash=None"),
        ('{"hash": "abc", "text": "x"}', "hash='abc'"),
        (json.dumps({"hash": "a" * 64}), "text=None"),
        (json.dumps({"hash": "a" * 64, "text": "x", "logprobs": {"content": [{"token": 1}]}}), "logprobs.content"),
        (
            json.dumps({"hash": "a" * 64, "text": "x", "logprobs": {"content": [{"token": "x", "logprob": 0.1}]}}),
            "logprobs.content",
        ),
    ],
)
def test_a_line_that_is_no_answer_is_named(line: str, message: str, data: Path, tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    answers.write_text(json.dumps({"hash": "b" * 64, "text": "fine"}) + "\n\n" + line + "\n")
    with pytest.raises(UserError, match=rf"answers.jsonl:3: {message}"):
        run(data, TeachOptions("api", answers=[answers]))


def test_what_a_teacher_is_for_is_checked(data: Path, llama: Path) -> None:
    with pytest.raises(UserError, match=r"teachers.llama.targets=top_k: --texts and --prompts are for"):
        run(data, TeachOptions("llama", llama, texts=True))
    with pytest.raises(UserError, match=r"teachers.api.targets=text: give --texts and a MODEL, or --import FILE"):
        run(data, TeachOptions("api", llama))
    with pytest.raises(UserError, match=r"--temperature 0 --top-p 1.0: give a temperature above 0"):
        run(data, TeachOptions("api", llama, texts=True, temperature=0))
