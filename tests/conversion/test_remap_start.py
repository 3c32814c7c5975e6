"""A run that begins from a checkpoint with another tokenizer, its optimizer anew or carried."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.conversion import remap_tokenizer
from custom_modules.errors import UserError
from data_prep.prepare import run as prepare_data
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.remapped import TABLES, token_map
from tests.support.runs import checkpoints, read_metrics, tensors
from tests.support.tiny import TINY

Danube = Callable[..., subprocess.CompletedProcess[str]]

STEPS = 4
ONE_STAGE = ["~curriculum.stages.stage2", f"curriculum.stages.stage1={{tokens: {512 * STEPS}, encoder_seq_length: 64}}"]
NEW = [
    "model.vocab_size=400",
    "model.sliding_window=null",
    "model.optim.lr=2e-3",
    "model.optim.sched.min_lr=1e-4",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=512",
    "exp_manager.checkpoint_callback_params.save_last_n=1",
]
"""What differs from the TINY config."""
DISTRIBUTED = "model.optim.name=distributed_fused_adam"
LAYOUTS = {
    "fp32": (["trainer.devices=1"], ["trainer.devices=1"]),
    "bf16": (
        ["trainer.devices=2", "model.tensor_model_parallel_size=2", "trainer.precision=bf16-mixed"],
        ["trainer.devices=1", "trainer.precision=bf16-mixed"],
    ),
    "distributed": (
        ["trainer.devices=2", "trainer.precision=bf16-mixed", DISTRIBUTED],
        ["trainer.devices=2", "model.tensor_model_parallel_size=2", "trainer.precision=bf16-mixed", DISTRIBUTED],
    ),
    "distributed_fp32": (
        ["trainer.devices=2", "model.pipeline_model_parallel_size=2", DISTRIBUTED],
        ["trainer.devices=1", DISTRIBUTED],
    ),
}
"""Of the old run and of the new one, by what its checkpoints hold of the optimizer."""
SOME = ["fp32", *(pytest.param(name, marks=pytest.mark.slow) for name in LAYOUTS if name != "fp32")]


@pytest.fixture(scope="session")
def renewed(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` with the same text in another tokenizer's ids."""
    folder = tmp_path_factory.mktemp("renewed")
    text = prepared.parent / "text.jsonl"
    texts = [json.loads(line)["text"] for line in text.read_text().splitlines()]
    (folder / "tokenizer.model").write_bytes(train_tokenizer(texts[:20], 400))
    overrides = [
        *(*TINY, "model.vocab_size=400", f"data.dir={folder / 'data'}", f"data.input={text}"),
        *(f"model.tokenizer.model={folder / 'tokenizer.model'}", "data.validation_fraction=0.1", "data.workers=1"),
    ]
    prepare_data(load_config("danube_rehearsal", overrides))
    return folder / "data"


@pytest.fixture(scope="session")
def old_run(danube: Danube, prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """A finished run in a layout; made once."""
    folder = tmp_path_factory.mktemp("old")

    def run(layout: str) -> Path:
        if not (folder / layout).exists():
            done = danube(
                *["pretrain", "--config-name", "danube_rehearsal", *TINY, *ONE_STAGE, *LAYOUTS[layout][0]],
                *[f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={layout}"],
            )
            assert done.returncode == 0, done.stderr
        return folder / layout

    return run


def adam_steps(checkpoint: Path) -> set[float]:
    """The step counts that a checkpoint's optimizer has."""

    def found(state: object) -> set[float]:
        if isinstance(state, dict):
            counts = {float(state[name]) for name in ("step", "common_step") if name in state}
            return counts.union(*map(found, state.values()))
        return set().union(*map(found, state)) if isinstance(state, list) else set()

    return found(torch.load(checkpoint / "dist" / "common.pt", weights_only=True))


@pytest.mark.slow
@pytest.mark.parametrize("layout", SOME)
@pytest.mark.parametrize("optimizer", [pytest.param("reset", marks=pytest.mark.slow), "carry"])
def test_a_run_begins(
    optimizer: str,
    layout: str,
    old_run: Callable[[str], Path],
    renewed: Path,
    danube: Danube,
    tiny: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    """The run has its own learning rate and window, from token 0; only the optimizer tells where it comes from."""
    command = [*tiny("new", *ONE_STAGE, *NEW, *LAYOUTS[layout][1]), f"data.dir={renewed}"]
    to = ["--to", str(renewed / "tokenizer"), "--optimizer", optimizer]
    remapped = danube("remap-tokenizer", str(old_run(layout)), str(tmp_path / "new"), *to, *command[1:])
    assert remapped.returncode == 0, remapped.stderr
    first = checkpoints(tmp_path / "new")[0]
    assert remapped.stdout == f"{first}\n"
    assert "of 400 tokens are in both vocabularies" in remapped.stderr
    assert "model.sliding_window: 48 in " in remapped.stderr
    trained = danube(*command)
    assert trained.returncode == 0, trained.stderr
    lines = read_metrics(tmp_path / "new")
    assert [line["tokens"] for line in lines] == [512, 1024, 1536, 2048]
    assert [line["learning_rate"] for line in lines[:2]] == [pytest.approx(1e-3), pytest.approx(2e-3)]
    last = checkpoints(tmp_path / "new")
    assert [path.name[-4:] for path in last] == ["0000", "2048"]
    carried = STEPS if optimizer == "carry" else 0
    assert adam_steps(first) == ({STEPS} if carried else set())
    assert adam_steps(last[-1]) == {carried + STEPS}


@pytest.mark.parametrize("layout", SOME)
def test_what_is_carried(layout: str, old_run: Callable[[str], Path], renewed: Path, tmp_path: Path) -> None:
    """Rows of common tokens with their moments; moments of 0 for the others; every other tensor as it was."""
    target = remap_tokenizer(old_run(layout), tmp_path / "new", renewed / "tokenizer", carry_optimizer=True)
    old, new = tensors(checkpoints(old_run(layout))[-1]), tensors(target)
    assert old.keys() == new.keys()
    old_ids = token_map(tmp_path / "new")["old_ids"]
    pairs = [(index, old_id) for index, old_id in enumerate(old_ids) if old_id is not None]
    kept, sources = (list(ids) for ids in zip(*pairs, strict=True))
    drawn = [index for index, old_id in enumerate(old_ids) if old_id is None]
    assert len(drawn) > 20
    tables = [name for name in new if name.endswith(TABLES)]
    assert len(tables) >= 6
    for name, tensor in new.items():
        if name not in tables:
            assert torch.equal(tensor, old[name]), name
            continue
        assert tensor.dtype == old[name].dtype
        assert torch.equal(tensor[kept], old[name][sources]), name
        assert tensor[kept].any()
        assert not tensor[400:].any()
        if "exp_avg" in name:
            assert not tensor[drawn].any()
        else:
            table = next(table for table in TABLES if name.endswith(table))
            assert tensor[drawn].all(dim=1).any()
            assert torch.equal(tensor.to(new[table].dtype)[drawn], new[table][drawn])


@pytest.mark.parametrize("layout", SOME)
def test_the_same_tokenizer_carries_every_bit(
    layout: str, old_run: Callable[[str], Path], prepared: Path, tmp_path: Path
) -> None:
    target = remap_tokenizer(old_run(layout), tmp_path / "new", prepared / "tokenizer", carry_optimizer=True)
    old, new = tensors(checkpoints(old_run(layout))[-1]), tensors(target)
    assert old.keys() == new.keys()
    assert any("exp_avg_sq" in name for name in new)
    assert all(torch.equal(old[name], tensor) for name, tensor in new.items())


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (DISTRIBUTED, r"model\.optim\.name=distributed_fused_adam: .* the optimizer state of adamw; use --optimizer"),
        ("trainer.precision=bf16-mixed", r"trainer\.precision=bf16-mixed: .* of 32-true; use --optimizer reset"),
    ],
)
def test_an_optimizer_of_another_kind(
    override: str, message: str, old_run: Callable[[str], Path], prepared: Path, tmp_path: Path
) -> None:
    config = load_config("danube_rehearsal", [*TINY, override])
    with pytest.raises(UserError, match=message):
        remap_tokenizer(old_run("fp32"), tmp_path / "new", prepared / "tokenizer", config=config, carry_optimizer=True)
    assert not (tmp_path / "new").exists()
    remap_tokenizer(old_run("fp32"), tmp_path / "new", prepared / "tokenizer", config=config)
