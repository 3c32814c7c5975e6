"""The worked examples of CONTRIBUTING.md, done as they are written there, in a copy of the program."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.tiny import TINY
from tests.support.trees import copy_program, run_copy

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ("Add a Hugging Face architecture", "Add a data step", "Add a key")
PAGE = (ROOT / "CONTRIBUTING.md").read_text()
BLOCK = re.compile(
    r"(?:^`(?P<path>[\w./]+)`:\n\n)?^```(?P<kind>python|diff)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL
)


def section(title: str) -> str:
    """The text below a heading."""
    return PAGE.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]


def edits(title: str) -> Iterator[tuple[str, str, str]]:
    """Each block of a section: its file, which a block without one has from the block before, its kind and content."""
    path = ""
    for block in BLOCK.finditer(section(title)):
        path = block["path"] or path
        yield path, block["kind"], block["body"]


def follow(title: str, tree: Path) -> None:
    """Write a section's new files, and make its changes: of a diff's lines those that stay must be there once."""
    for name, kind, body in edits(title):
        path = tree / name
        if kind == "python":
            assert not path.exists(), f"{name} is there already"
            path.write_text(body)
            continue
        lines = body.splitlines(keepends=True)
        before = "".join(line[1:] for line in lines if line[0] != "+")
        after = "".join(line[1:] for line in lines if line[0] != "-")
        text = path.read_text()
        assert text.count(before) == 1, f"{name} has not exactly one\n{before}"
        path.write_text(text.replace(before, after))


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program, as whoever has followed the page has it."""
    tree = copy_program(tmp_path_factory.mktemp("tree"))
    for title in EXAMPLES:
        follow(title, tree)
    return tree


def test_every_file_that_the_page_names_is_there() -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", PAGE):
        assert (ROOT / target).exists(), target


@pytest.mark.parametrize("checker", [["ruff", "check"], ["ruff", "format", "--check"]], ids=" ".join)
def test_the_page_keeps_the_style_that_it_asks_for(tree: Path, checker: list[str]) -> None:
    shutil.copy(ROOT / "pyproject.toml", tree)
    python = sorted({path for title in EXAMPLES for path, _, _ in edits(title) if path.endswith(".py")})
    done = subprocess.run(
        [sys.executable, "-m", *checker, "--no-cache", *python], cwd=tree, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_a_key(tree: Path, tmp_path: Path) -> None:
    assert "price" not in run_copy(tree, tmp_path, "plan")
    plan = json.loads(run_copy(tree, tmp_path, "plan", "--json"))
    text = run_copy(tree, tmp_path, "plan", "trainer.device_hour_price=2.5")
    assert f"{plan['device_hours'] * 2.5:,.0f} at 2.5 a device-hour" in text
    misspelled = run_copy(tree, tmp_path, "plan", "trainer.device_hour_prize=2.5", code=2)
    assert "trainer.device_hour_price?" in misspelled
    negative = run_copy(tree, tmp_path, "plan", "trainer.device_hour_price=-1", code=2)
    assert "trainer.device_hour_price=-1" in negative
    probe = "from custom_modules.config.marks import may_change; from custom_modules.config.schema import Config; "
    probe += "print(may_change(Config, 'trainer.device_hour_price'))"
    done = subprocess.run([sys.executable, "-c", probe], cwd=tree, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.slow
def test_a_data_step(tree: Path, prepared: Path, tmp_path: Path) -> None:
    quiet = [f"Here is text number {number}, which is written as such texts mostly are." for number in range(60)]
    texts = [*quiet, "HERE IS ONE THAT SHOUTS AT WHOEVER READS IT, FROM ITS BEGINNING TO ITS END."]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    words = ["prepare", "--config-name", "danube_rehearsal", *TINY, "data.input=texts.jsonl", "data.dir=data"]
    words += [f"model.tokenizer.model={prepared.parent / 'tokenizer.model'}", "data.max_epochs=100"]
    words += ["data.validation_fraction=0.2", "data.workers=1"]
    run_copy(tree, tmp_path, *words, "data.steps.shouting={}")
    card = (tmp_path / "data" / "data_card.md").read_text()
    assert "it shouts" in card
    run_copy(tree, tmp_path, *words, "--only", "shouting")
    removed = (tmp_path / "data" / "only" / "shouting" / "removed.jsonl").read_text().splitlines()
    assert [json.loads(line)["text"] for line in removed] == texts[-1:]
    assert "shouting: removes documents in capitals" in run_copy(tree, tmp_path, "prepare", "--help-steps")
    wrong = run_copy(tree, tmp_path, *words, "data.steps.shouting.max_share=2", code=2)
    assert "data.steps.shouting.max_share=2" in wrong
    misspelled = run_copy(tree, tmp_path, *words, "data.steps.shouting.max_shares=0.5", code=2)
    assert "did you mean max_share?" in misspelled


@pytest.mark.slow
def test_a_hugging_face_architecture(tree: Path, prepared: Path, tmp_path: Path) -> None:
    """A random model of the class becomes a checkpoint, with its logits, and is the same model again."""
    import torch
    from safetensors.torch import load_file
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    hf_config = LlamaConfig(
        vocab_size=512,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        rms_norm_eps=1e-5,
        max_position_embeddings=64,
        initializer_range=0.2,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(hf_config).save_pretrained(tmp_path / "model")
    shutil.copy(prepared.parent / "tokenizer.model", tmp_path / "model")
    words = ["--config-name", "danube_rehearsal", *TINY, "model.architecture=llama", "exp_manager.name=llama"]
    refused = run_copy(tree, tmp_path, "convert", "from-hf", "model", "runs/llama", *words, code=2)
    assert "model.sliding_window=null" in refused
    words += ["model.sliding_window=null", f"data.dir={prepared}", "trainer.devices=1"]
    run_copy(tree, tmp_path, "convert", "from-hf", "model", "runs/llama", *words)
    run_copy(tree, tmp_path, "convert", "to-hf", "runs/llama", "again", "--verify")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["architectures"] == ["LlamaForCausalLM"]
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("model", "again"))
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
