"""The model's answers: two turns by the folder's chat template, as another implementation has them, one by one."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.cli import main
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.chat import make_chain
from tests.support.chat_model import make_chat_export
from tests.support.mt_bench import answers, make_bench, read_lines, write_lines
from tests.support.tokenizers import ENGLISH

PENALTY = 1.1
Say = pytest.CaptureFixture[str]


def words(model: Path, bench: Path, output: Path, *more: str) -> list[str]:
    return ["mt-bench", str(model), "--bench", str(bench), "--output", str(output), "--answers-only", *more]


def greedy(model: Path, prompt: bytes, new_tokens: int) -> list[int]:
    """What a model says next, token by token without a cache; those that were there count less."""
    from transformers import LlamaForCausalLM

    network = LlamaForCausalLM.from_pretrained(model)
    ids = [*prompt]
    for _ in range(new_tokens):
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0, -1]
        for seen in {*ids}:
            logits[seen] = logits[seen] / PENALTY if logits[seen] > 0 else logits[seen] * PENALTY
        ids.append(int(logits.argmax()))
        if ids[-1] == 256:
            break
    return ids[len(prompt) :]


def text_of(ids: Sequence[int]) -> str:
    return bytes(index for index in ids if index < 256).decode(errors="replace").strip()


def rendered(*contents: str) -> bytes:
    """The test model's template by hand, whose markers are plain bytes."""
    parts = (
        f"<|{'answer' if number % 2 else 'prompt'}|>{content.strip()}<|end|>" for number, content in enumerate(contents)
    )
    return ("".join(parts) + "<|answer|>").encode()


def test_as_another_implementation_says(model: Path, bench: Path, tmp_path: Path) -> None:
    """Greedy with the penalty over prompt and answer, whatever generation_config.json says; the second turn has the
    first in it."""
    assert main(words(model, bench, tmp_path / "o", "--max-new-tokens", "12")) == 0
    records = {record["question_id"]: record for record in answers(tmp_path / "o")}
    questions = [one for one in read_lines(bench / "question.jsonl") if one["category"] != "coding"]
    assert [*records] == [question["question_id"] for question in questions]
    for question in questions[:3]:
        [choice] = records[question["question_id"]]["choices"]
        first = greedy(model, rendered(question["turns"][0]), 12)
        second = greedy(model, rendered(question["turns"][0], text_of(first), question["turns"][1]), 12)
        assert choice["turns"] == [text_of(first), text_of(second)]
        assert choice["finish_reasons"] == ["stop" if ids[-1] == 256 else "length" for ids in (first, second)]


@pytest.mark.parametrize("official", [[], ["--official", "--seed", "3"]])
def test_the_same_whichever_were_given_before(
    official: list[str], model: Path, bench: Path, tmp_path: Path, capsys: Say
) -> None:
    """Some lines are taken away, and those questions alone are asked again."""
    options = ["--max-new-tokens", "8", *official]
    assert main(words(model, bench, tmp_path / "o", *options)) == 0
    whole = answers(tmp_path / "o")
    path = tmp_path / "o" / "model_answer" / "model.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[1::2]))
    capsys.readouterr()
    assert main(words(model, bench, tmp_path / "o", *options)) == 0
    assert capsys.readouterr().err.count("answered question") == len(lines[::2])
    assert sorted(answers(tmp_path / "o"), key=lambda one: int(one["question_id"])) == whole
    assert path.read_bytes().startswith(b"".join(lines[1::2]))


def test_official_temperatures_draw_where_fastchat_draws(
    model: Path, bench: Path, all_answers: Path, tmp_path: Path
) -> None:
    """The categories at 0 are answered as without; another seed changes the others alone."""
    seeds = [answers_by_category(model, bench, tmp_path / seed, "--official", "--seed", seed) for seed in ("1", "2")]
    plain = answers_by_category(model, bench, tmp_path / "plain")
    for category in ("extraction", "math", "coding", "reasoning"):
        assert seeds[0][category] == seeds[1][category] == plain[category]
    for category in ("writing", "roleplay"):
        assert seeds[0][category] != seeds[1][category]


def answers_by_category(model: Path, bench: Path, output: Path, *more: str) -> dict[str, Any]:
    assert main(words(model, bench, output, "--max-new-tokens", "8", "--categories", "all", *more)) == 0
    categories = {one["question_id"]: one["category"] for one in read_lines(bench / "question.jsonl")}
    return {categories[record["question_id"]]: record["choices"] for record in answers(output)}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda model: make_chat_export(model, seed=1), "weights.model.safetensors"),
        (lambda model: (model / "chat_template.jinja").write_text("{{ messages[-1].content }}"), "template"),
        (lambda model: (model / "tokenizer_config.json").write_text("{}"), "tokenizer.tokenizer_config.json"),
        (lambda model: (model / "generation_config.json").write_text('{"eos_token_id": [3, 256]}'), "eos_token_id"),
    ],
)
def test_answers_of_another_model_are_refused(
    change: Callable[[Path], object],
    named: str,
    model: Path,
    bench: Path,
    all_answers: Path,
    tmp_path: Path,
    capsys: Say,
) -> None:
    own = shutil.copytree(model, tmp_path / "model")
    shutil.copytree(all_answers, tmp_path / "o")
    change(own)
    options = ["--max-new-tokens", "6", "--categories", "all"]
    assert main(words(own, bench, tmp_path / "o", *options)) == 2
    [line] = said(capsys)
    assert f"made with {named}=" in line and "give another --output" in line
    assert answers(tmp_path / "o") == answers(all_answers)


@pytest.mark.parametrize(
    ("more", "named"),
    [
        (["--max-new-tokens", "7"], "max_new_tokens=6, and now it is 7"),
        (["--max-new-tokens", "6", "--official"], "temperature.humanities=0.0, and now it is 0.1"),
    ],
)
def test_answers_of_other_settings_are_refused(
    more: list[str], named: str, model: Path, bench: Path, all_answers: Path, tmp_path: Path, capsys: Say
) -> None:
    shutil.copytree(all_answers, tmp_path / "o")
    assert main(words(model, bench, tmp_path / "o", *more)) == 2
    [line] = said(capsys)
    assert named in line


def test_answers_to_other_questions_and_of_nobody_are_refused(
    model: Path, bench: Path, all_answers: Path, tmp_path: Path, capsys: Say
) -> None:
    shutil.copytree(all_answers, tmp_path / "o")
    other = make_bench(tmp_path / "data" / "mt_bench", per_category=2)
    assert main(words(model, other, tmp_path / "o", "--max-new-tokens", "6")) == 2
    assert "made with questions=" in said(capsys)[0]
    (tmp_path / "o" / "model_answer" / "model.settings.json").unlink()
    assert main(words(model, bench, tmp_path / "o", "--max-new-tokens", "6")) == 2
    assert "nothing says what made it" in said(capsys)[0]
    assert main(words(model, bench, tmp_path / "o", "--max-new-tokens", "6", "--model-name", "renamed")) == 2
    assert "give --model-name model if it is the same" in said(capsys)[0]


def test_no_weights_are_loaded_where_no_answer_is_missing(
    model: Path, bench: Path, all_answers: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(*arguments: object) -> None:
        raise AssertionError("loaded")

    monkeypatch.setattr("custom_modules.conversion.local_model.load_model", load)
    shutil.copytree(all_answers, tmp_path / "o")
    assert main(words(model, bench, tmp_path / "o", "--max-new-tokens", "6")) == 0


def test_in_the_projects_own_prompt_format(bench: Path, tmp_path: Path) -> None:
    """An export whose model says one thing after ``<|answer|>``, and ends: in both turns, whatever was asked."""
    (tmp_path / "tokenizer.model").write_bytes(train_tokenizer(ENGLISH, 500))
    tokenizer = ChatTokenizer.from_file("sentencepiece", tmp_path / "tokenizer.model")
    export = make_chain(tmp_path / "export", tokenizer, "Some text")
    assert main(words(export, bench, tmp_path / "o", "--max-new-tokens", "20")) == 0
    choices = [record["choices"] for record in answers(tmp_path / "o")]
    assert choices == [[{"index": 0, "turns": ["Some text"] * 2, "finish_reasons": ["stop"] * 2}]] * 7


def test_room_in_the_context(model: Path, bench: Path, tmp_path: Path, capsys: Say) -> None:
    """An answer is cut where the context ends; a prompt that fills it is refused with both counts."""
    question = read_lines(bench / "question.jsonl")[0]
    prompt = len(rendered(question["turns"][0]))
    small = make_chat_export(tmp_path / "small", context=prompt + 2)
    one = make_bench(tmp_path / "data" / "mt_bench", categories=["writing"])
    assert main(words(small, one, tmp_path / "o")) == 2
    line = said(capsys)[-1]
    assert "question 81 leaves no room" in line and f"the model reads {prompt + 2}" in line
    first = text_of(greedy(model, rendered(question["turns"][0]), 3))
    second = len(rendered(question["turns"][0], first, question["turns"][1]))
    wider = make_chat_export(tmp_path / "wider", context=second + 1)
    assert main(words(wider, one, tmp_path / "o2", "--max-new-tokens", "3")) == 0
    [record] = answers(tmp_path / "o2")
    assert [record["choices"][0]["turns"][0], len(record["choices"][0]["turns"][1])] == [first, 1]


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "no config.json there"),
        ({"checkpoints/tokens_1/metadata.json": "{}"}, "a run, and no export; convert it first: danube convert to-hf"),
        ({"config.json": "{}"}, "no chat template"),
        ({"config.json": "{}", "chat_template.jinja": "x"}, "no eos_token_id"),
        ({"config.json": "{", "chat_template.jinja": "x"}, "config.json: not JSON"),
    ],
)
def test_what_is_no_chat_model(files: dict[str, str], message: str, bench: Path, tmp_path: Path, capsys: Say) -> None:
    for name, content in files.items():
        (tmp_path / "m" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "m" / name).write_text(content)
    assert main(words(tmp_path / "m", bench, tmp_path / "o")) == 2
    [line] = said(capsys)
    assert message in line


def damaged(bench: Path, name: str, change: Callable[[list[dict[str, Any]]], object]) -> None:
    records = read_lines(bench / name)
    change(records)
    write_lines(bench / name, records)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("question.jsonl", lambda lines: lines[0]["turns"].pop(), "question_id=81 is not"),
        ("question.jsonl", lambda lines: lines.append(lines[0]), "question_id 81 is there twice"),
        ("question.jsonl", lambda lines: lines.clear(), "no question in it"),
        ("reference_answer/gpt-4.jsonl", lambda lines: lines.pop(), "no reference answer to question"),
        ("reference_answer/gpt-4.jsonl", lambda lines: lines[0].pop("choices"), "question_id=83 is not FastChat's"),
        ("../judge_prompts.jsonl", lambda lines: lines.pop(), "no prompt called single-math-v1-multi-turn"),
        ("../judge_prompts.jsonl", lambda lines: lines[0].update(output_format="[[A]]"), "output_format='[[A]]'"),
        ("../judge_prompts.jsonl", lambda lines: lines[0].pop("system_prompt"), "single-v1 has no system_prompt"),
    ],
)
def test_what_is_no_bench(
    name: str, change: Callable[[list[dict[str, Any]]], object], message: str, model: Path, tmp_path: Path, capsys: Say
) -> None:
    """Found before the model answers."""
    bench = make_bench(tmp_path / "data" / "mt_bench")
    damaged(bench, name, change)
    judge = ["--judge", "http://127.0.0.1:9/v1", "--judge-model", "judge", "--categories", "all"]
    output = ["--output", str(tmp_path / "o")]
    assert main(["mt-bench", str(model), "--bench", str(bench), *output, *judge]) == 2
    [line] = said(capsys)
    assert message in line
    assert not (tmp_path / "o").exists()


def test_missing_files_are_named(model: Path, bench: Path, tmp_path: Path, capsys: Say) -> None:
    assert main(words(model, tmp_path, tmp_path / "o")) == 2
    assert "no question.jsonl there" in said(capsys)[0]
    shutil.copytree(bench, tmp_path / "data")
    judge = ["--judge", "http://127.0.0.1:9/v1", "--judge-model", "judge"]
    assert main(["mt-bench", str(model), "--bench", str(tmp_path / "data"), *judge]) == 2
    assert "no judge_prompts.jsonl in it or beside it" in said(capsys)[0]
    (tmp_path / "data" / "question.jsonl").write_text('{"question_id": 1}\n{"a')
    assert main(words(model, tmp_path / "data", tmp_path / "o")) == 2
    assert "question.jsonl:2: not JSON" in said(capsys)[0]


def said(capsys: Say) -> list[str]:
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("danube: ")]


def test_output_is_a_folder_in_the_models(bench: Path, tmp_path: Path) -> None:
    own = make_chat_export(tmp_path / "own")
    assert main(["mt-bench", str(own), "--bench", str(bench), "--answers-only", "--max-new-tokens", "2"]) == 0
    assert {record["model_id"] for record in answers(own / "mt_bench")} == {"own"}
    assert json.loads((own / "mt_bench" / "model_answer" / "own.settings.json").read_text())["max_new_tokens"] == 2
