"""What another model and another loss cost: two files, a line in the table of each, and a YAML."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tests.support.runs import assert_same_run, read_metrics
from tests.support.tiny import TINY
from tests.support.trees import copy_program, run_copy

ROOT = Path(__file__).resolve().parents[1]
TOY = ROOT / "tests" / "examples" / "toy"
OVERRIDES = [*TINY, "model.sliding_window=null", "model.ffn_hidden_size=80", "trainer.devices=1"]


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The program with the toy in it."""
    tree = copy_program(tmp_path_factory.mktemp("tree"))
    add(tree, "architecture", "smollm3", "SMOLLM3", "ARCHITECTURES: dict[str, Architecture] = {", "SMOLLM3")
    add(tree, "objective", "without_repeats", "WithoutRepeats", "OBJECTIVES: dict", "WithoutRepeats")
    shutil.copy(TOY / "toy.yaml", tree / "nemo_configs")
    return tree


def add(tree: Path, folder: str, file: str, name: str, table: str, entry: str) -> None:
    """Put a file into a folder, and a line with its import into the folder's table."""
    shutil.copy(TOY / f"{file}.py", tree / "custom_modules" / folder)
    path = tree / "custom_modules" / folder / "__init__.py"
    lines = path.read_text().splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(table))
    lines.insert(at + 1, f'    "{file}": {entry},')
    first = next(number for number, line in enumerate(lines) if line.startswith("from custom_modules."))
    lines.insert(first, f"from custom_modules.{folder}.{file} import {name}")
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.slow
def test_it_trains_resumes_and_converts_both_ways(tree: Path, prepared: Path, tmp_path: Path) -> None:
    def train(name: str, *overrides: str) -> Path:
        run = ["pretrain", "--config-name", "toy", *OVERRIDES, f"data.dir={prepared}", f"exp_manager.name={name}"]
        run_copy(tree, tmp_path, *run, *overrides)
        return tmp_path / "runs" / name

    plan = run_copy(tree, tmp_path, "plan", "--config-name", "toy", *OVERRIDES)
    assert "(embedding, which is the head too)" in plan

    whole = train("whole")
    losses = [line["loss"] for line in read_metrics(whole)]
    assert losses[-1] < losses[0] - 0.3
    train("halved", "curriculum.stage=stage1")
    assert_same_run(train("halved"), whole)
    divided = train("divided", "trainer.devices=2", "model.tensor_model_parallel_size=2")
    assert [line["loss"] for line in read_metrics(divided)] == pytest.approx(losses, rel=1e-5)

    export, again = tmp_path / "exports" / "toy", tmp_path / "exports" / "again"
    run_copy(tree, tmp_path, "convert", "to-hf", str(whole), str(export), "--verify")
    imported = ["convert", "from-hf", str(export), "runs/again", "--config-name", "toy", *OVERRIDES]
    run_copy(tree, tmp_path, *imported, f"data.dir={prepared}", "exp_manager.name=again")
    run_copy(tree, tmp_path, "convert", "to-hf", "runs/again", str(again))
    for name in ("model.safetensors", "config.json"):
        assert (export / name).read_bytes() == (again / name).read_bytes()

    model = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval()
    assert type(model).__name__ == "SmolLM3ForCausalLM"
    assert model.config.no_rope_layers == [0] * 2
    tokens = torch.randint(0, 512, (2, 64), generator=torch.Generator().manual_seed(0))
    torch.save(tokens, tmp_path / "tokens.pt")
    subprocess.run(
        [sys.executable, "-c", LOGITS, str(whole), str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1"},
        check=True,
        timeout=120,
    )
    ours = torch.load(tmp_path / "logits.pt")
    with torch.no_grad():
        theirs = model(tokens, use_cache=False).logits
    assert theirs.std() > 0.1
    assert (ours - theirs).abs().max() <= 1e-5


LOGITS = """
import sys
from pathlib import Path
import torch
from custom_modules.platform.megatron import import_megatron
import_megatron("cpu")
from custom_modules.model.build import build_model
from custom_modules.platform import Platform
from custom_modules.run_folder.checkpoint_files import resolve
from custom_modules.training.checkpoint import load_weights
checkpoint, folder = resolve(Path(sys.argv[1])), Path(sys.argv[2])
config = checkpoint.config()
tokens = torch.load(folder / "tokens.pt")
with Platform.detect(config).running(config), torch.no_grad():
    model = build_model(config, initial_weights=False).eval()
    load_weights([model], checkpoint)
    logits = model(tokens, torch.arange(tokens.shape[1])[None], None)[..., : config.model.vocab_size]
torch.save(logits, folder / "logits.pt")
"""
"""The trained GPTModel's logits of some tokens, in a process that has the toy's program."""


@pytest.mark.slow
def test_what_it_cannot_have_is_refused_by_name(tree: Path, tmp_path: Path) -> None:
    for override, remedy in (
        ("model.sliding_window=64", "model.sliding_window=null"),
        ("model.share_embeddings_and_output_weights=false", "true"),
        ("model.position_embedding_type=rope", "none"),
        ("model.fsdp=true", "model.fsdp=false"),
        ("objective=masked", "without_repeats"),
    ):
        said = run_copy(tree, tmp_path, "plan", "--config-name", "toy", override, code=2)
        assert said.startswith(f"danube: {override}: ")
        assert remedy in said
