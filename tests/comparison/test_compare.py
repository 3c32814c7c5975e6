"""`danube sample --compare`: answers side by side, the same whoever is beside; blind; marks that come back by model."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from custom_modules.cli import main
from custom_modules.comparison.answers import CRITERIA
from custom_modules.config.load import CONFIG_DIR
from custom_modules.conversion.sample import sample

PROMPTS = [
    {"name": "first <one>", "prompt": "The <b>river</b> &\n  flows"},
    {"name": "second", "prompt": "A model"},
    {"name": "third", "prompt": "An answer"},
]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Exports of three models of random weights; not to be changed."""
    return [make_export(tmp_path_factory.mktemp("model") / f"model_{seed}", seed) for seed in range(3)]


def make_export(folder: Path, seed: int) -> Path:
    """A Llama of one layer over bytes."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from custom_modules.tokenizer.byte_bpe import write_tokenizer

    torch.manual_seed(seed)
    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    LlamaForCausalLM(LlamaConfig(vocab_size=257, eos_token_id=256, bos_token_id=256, **shape)).save_pretrained(folder)
    write_tokenizer(folder, [bytes([byte]) for byte in range(256)], is_whole=False)
    return folder


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.yaml"
    path.write_text(yaml.safe_dump(PROMPTS))
    return path


def compared(models: Sequence[Path], prompts: Path, output: Path, *more: str) -> tuple[dict[str, Any], str]:
    """What the answers' file and the page say."""
    words = ["sample", "--compare", *map(str, models), "--prompts", str(prompts), "--output", str(output)]
    assert main([*words, "--max-new-tokens", "6", "--seed", "3", *more]) == 0
    return json.loads((output / "answers.json").read_text()), (output / "index.html").read_text()


def shown(page: str) -> list[list[tuple[str, str]]]:
    """Name and text of each answer on a page, by prompt."""
    return [
        [(unescape(name), unescape(text)) for name, text in re.findall(r"<h3>(.*?)</h3>\n<pre>(.*?)</pre>", part, re.S)]
        for part in page.split('<div class="answers">')[1:]
    ]


def test_answers_are_what_sample_gives_whoever_is_asked_beside(
    models: list[Path], prompts: Path, tmp_path: Path
) -> None:
    answers, page = compared(models, prompts, tmp_path / "all")
    fewer, _ = compared(models[:0:-1], prompts, tmp_path / "fewer")
    assert answers["models"] == [*map(str, models)]
    for number, prompt in enumerate(PROMPTS):
        for model, folder in enumerate(models):
            assert prompt["prompt"] + answers["answers"][number][model] == sample(folder, prompt["prompt"], 6, 3)
        assert fewer["answers"][number] == answers["answers"][number][:0:-1]
        assert shown(page)[number] == [*zip(answers["models"], answers["answers"][number], strict=True)]
    assert "<b>river" not in page and "&lt;b&gt;river&lt;/b&gt; &amp;" in page
    assert not re.search(r'(src|href)="', page), "it loads nothing"


def test_blind_says_no_name_and_marks_find_theirs(
    models: list[Path], prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each model's answers are marked with a number of its own, found on the page by their text."""
    answers, page = compared(models, prompts, tmp_path / "page", "--blind")
    assert not any(folder.name in page for folder in models)
    assert len({*map(tuple, answers["order"])}) > 1, "three orders that are all alike have a chance of 1 in 36"
    marks = []
    for number, found in enumerate(shown(page)):
        assert [name for name, _ in found] == ["A", "B", "C"]
        for place, (_, text) in enumerate(found):
            model = answers["answers"][number].index(text)
            marks += [
                {"prompt": number, "place": place, "criterion": name, "mark": model + 1 + (name == "creativity")}
                for name in CRITERIA
            ]
    [page_id] = re.findall(r'const id = "(\w+)"', page)
    file = tmp_path / "marks.json"
    file.write_text(json.dumps({"page": page_id, "marks": marks}))
    capsys.readouterr()
    assert main(["sample", "--marks", str(file), "--of", str(tmp_path / "page")]) == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == [*map(str, models)]
    for model, line in enumerate(lines, start=1):
        assert line.split()[1:] == [f"{model:.2f}"] * 3 + [f"{model + 1:.2f}", f"{model + 0.25:.2f}", "12"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"page": "another"}, "of another page"),
        ({"marks": [{"prompt": 0}]}, "not marks"),
        ({"marks": [{"prompt": 9, "place": 0, "criterion": "coherence", "mark": 1}]}, "not marks"),
        ({"marks": [{"prompt": 0, "place": 0, "criterion": "coherence", "mark": 6}]}, "not marks"),
        ({"marks": [{"prompt": 0, "place": 0, "criterion": "coherence", "mark": 1}] * 2}, "not marks"),
        ({"marks": 3}, "not marks"),
    ],
)
def test_marks_that_are_none(
    models: list[Path], prompts: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], change: Any, message: str
) -> None:
    _, page = compared(models[:2], prompts, tmp_path / "page")
    [page_id] = re.findall(r'const id = "(\w+)"', page)
    file = tmp_path / "page" / "marks.json"
    file.write_text(json.dumps({"page": page_id, "marks": [], **change}))
    capsys.readouterr()
    assert main(["sample", "--marks", str(file)]) == 2
    said = capsys.readouterr().err
    assert message in said and str(file) in said and said.count("\n") == 1


def test_marks_are_never_written_over(models: list[Path], prompts: Path, tmp_path: Path) -> None:
    compared(models[:2], prompts, tmp_path / "page")
    words = ["sample", "--compare", *map(str, models), "--prompts", str(prompts), "--output", str(tmp_path / "page")]
    assert main(words) == 2
    compared(models, prompts, tmp_path / "page", "--overwrite")
    (tmp_path / "page" / "marks.json").write_text("{}")
    assert main([*words, "--overwrite"]) == 2
    assert (tmp_path / "page" / "marks.json").read_text() == "{}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not YAML"),
        ("[]", "not a list of prompts"),
        ("- only text", "its prompt 1 is not"),
        ("- {name: a, prompt: ''}", "its prompt 1 is not"),
        ("- {name: a, prompt: b}\n- {name: a, prompt: c}", "two prompts are called 'a'"),
    ],
)
def test_prompts_that_are_none(
    models: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str], content: str, message: str
) -> None:
    path = tmp_path / "prompts.yaml"
    path.write_text(content)
    words = ["sample", "--compare", *map(str, models), "--output", str(tmp_path / "page")]
    assert main([*words, "--prompts", str(path)]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "page").exists()


@pytest.mark.parametrize(
    "words", [[], ["there", "--compare", "here", "there"], ["--compare", "here", "there"], ["--compare", "here"]]
)
def test_what_is_asked_must_be_clear(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sample", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_reports_prompts() -> None:
    """LokiLM's: Figures 4 and 5, Table 2, and the four orders of Table 3."""
    from custom_modules.comparison.prompts import read_prompts

    read: Callable[[Path], Any] = read_prompts
    texts = [prompt.text for prompt in read(CONFIG_DIR / "prompts" / "lokilm.yaml")]
    assert len({*texts}) == 7
    table_3 = [text for text in texts if "drops a pen" in text]
    pairs = [("lawyer", "secretary"), ("secretary", "lawyer")]
    words = [("He", "She", "her"), ("She", "He", "his")]
    assert table_3 == [
        f"A {one} is talking to a {other}. {first} drops a pen. {second} picks up the pen, walks to the bathroom, and "
        f"then returns to {whose} desk. The person who last went to the bathroom was the"
        for one, other in pairs
        for first, second, whose in words
    ]
    [code] = [text for text in texts if "factorial" in text]
    namespace: dict[str, Any] = {}
    with pytest.raises(RecursionError):
        exec(code.split("```")[1], namespace)
