"""Another tokenizer for a trained model: with Mistral's, as in Danube2 (section 7), what is known stays known."""

from __future__ import annotations

import json
import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from pydoc_data.topics import topics

import pytest
import torch

from custom_modules.conversion import remap_tokenizer
from custom_modules.files import sha256_of
from custom_modules.run_folder import checkpoint_files
from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.sentencepiece_json import ModelProto
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.remapped import TABLES, bits_per_byte, token_map, weights
from tests.support.tiny import TINY
from tests.support.trained import Trained, small_config

Danube = Callable[..., subprocess.CompletedProcess[str]]

TEXTS = sorted(topics.values())
HELD_OUT = "\n".join(TEXTS[:4])[:20_000]


@pytest.fixture(scope="session")
def english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("english") / "tokenizer.model"
    path.write_bytes(train_tokenizer(TEXTS, 4000))
    return path


@pytest.fixture(scope="session")
def of_mistral(mistral: Path, danube: Danube, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("of_mistral"), danube, mistral, vocab_size=32_000, steps=24)


@pytest.fixture(scope="session")
def of_english(english: Path, danube: Danube, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tmp_path_factory.mktemp("of_english"), danube, english, vocab_size=4000, steps=48)


def train(folder: Path, danube: Danube, tokenizer: Path, vocab_size: int, steps: int) -> Path:
    """A run on the English that Python carries; returns its folder."""
    (folder / "text.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in TEXTS[4:]))
    overrides = [
        *TINY,
        f"model.vocab_size={vocab_size}",
        f"model.tokenizer.model={tokenizer}",
        "~curriculum.stages.stage2",
        f"curriculum.stages.stage1={{tokens: {512 * steps}, encoder_seq_length: 64}}",
        "model.optim.lr=1e-2",
        "model.optim.sched.min_lr=1e-3",
        "trainer.devices=1",
        f"data.dir={folder / 'data'}",
        f"data.input={folder / 'text.jsonl'}",
        "data.validation_fraction=0.05",
        "data.workers=1",
        f"exp_manager.exp_dir={folder}",
        "exp_manager.name=run",
    ]
    for command in ("prepare", "pretrain"):
        done = danube(command, "--config-name", "danube_rehearsal", *overrides)
        assert done.returncode == 0, done.stderr
    return folder / "run"


def permuted(model: Path, path: Path) -> list[int]:
    """Write a SentencePiece model with its pieces in another order; returns the old id of each new one."""
    proto = ModelProto()
    proto.ParseFromString(model.read_bytes())
    pieces = list(proto.pieces)
    order = random.Random(0).sample(range(len(pieces)), len(pieces))
    del proto.pieces[:]
    proto.pieces.extend(pieces[index] for index in order)
    path.write_bytes(proto.SerializeToString())
    return order


@pytest.mark.slow
def test_the_same_vocabulary_changes_no_bit(
    of_mistral: Path, mistral: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    remap_tokenizer(of_mistral, tmp_path / "new", mistral, old=mistral)
    before, after = weights(of_mistral), weights(tmp_path / "new")
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    assert token_map(tmp_path / "new")["old_ids"] == list(range(32_000))
    assert (
        "32,000 of 32,000 tokens are in both vocabularies (31,741 text, 256 byte, 3 control)" in capfd.readouterr().err
    )


@pytest.mark.slow
def test_a_permuted_vocabulary_permutes_rows_and_keeps_the_loss(
    of_mistral: Path, mistral: Path, tmp_path: Path
) -> None:
    order = permuted(mistral, tmp_path / "tokenizer.model")
    remap_tokenizer(of_mistral, tmp_path / "new", tmp_path)
    before, after = weights(of_mistral), weights(tmp_path / "new")
    assert before.keys() == after.keys()
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name][order] if name in TABLES else before[name]), name
    assert token_map(tmp_path / "new")["old_ids"] == order
    loss = bits_per_byte(of_mistral, HELD_OUT)
    assert bits_per_byte(tmp_path / "new", HELD_OUT) == pytest.approx(loss, rel=1e-6)


@pytest.mark.slow
def test_another_vocabulary_begins_better_than_random_rows(of_english: Path, mistral: Path, tmp_path: Path) -> None:
    """A model of 4,000 tokens goes to 32,000."""
    remap_tokenizer(of_english, tmp_path / "new", mistral)
    assert 2000 < token_map(tmp_path / "new")["copied"] < 4000
    copied = bits_per_byte(tmp_path / "new", HELD_OUT)
    assert copied < bits_per_byte(tmp_path / "new", HELD_OUT, with_random_rows=True)


@pytest.mark.slow
def test_a_smaller_vocabulary_begins_better_than_random_rows(of_mistral: Path, english: Path, tmp_path: Path) -> None:
    remap_tokenizer(of_mistral, tmp_path / "new", english)
    copied = bits_per_byte(tmp_path / "new", HELD_OUT)
    assert copied < bits_per_byte(tmp_path / "new", HELD_OUT, with_random_rows=True)


@pytest.mark.slow
def test_every_row_is_the_old_one_of_its_bytes_or_drawn(of_english: Path, mistral: Path, tmp_path: Path) -> None:
    remap_tokenizer(of_english, tmp_path / "new", mistral)
    old, new = (
        load_tokenizer("sentencepiece", checkpoint_files.resolve(run_dir).tokenizer)
        for run_dir in (of_english, tmp_path / "new")
    )
    ids = {old.token(index): index for index in range(old.vocab_size)}
    expected = [ids.get(new.token(index)) for index in range(new.vocab_size)]
    found = token_map(tmp_path / "new")
    assert found["old_ids"] == expected
    assert found["copied"] == sum(found["copied_by_kind"].values()) == 32_000 - expected.count(None)
    assert found["tokens"] == 32_000
    assert (found["from"]["sha256"], found["to"]["sha256"]) == (old.sha256, sha256_of(mistral))
    assert (found["seed"], found["optimizer"]) == (1234, "reset")
    before, after = weights(of_english), weights(tmp_path / "new")
    drawn = torch.tensor([index is None for index in expected])
    for name in TABLES:
        copied = before[name][[index for index in expected if index is not None]]
        assert torch.equal(after[name][: len(drawn)][~drawn], copied)
        fresh = after[name][: len(drawn)][drawn]
        assert fresh.std().item() == pytest.approx(0.02, rel=0.01)
        assert abs(fresh.mean().item()) < 1e-4
        assert fresh.unique(dim=0).shape == fresh.shape
        assert not after[name][len(drawn) :].any()
    assert not torch.equal(after[TABLES[0]][: len(drawn)][drawn], after[TABLES[1]][: len(drawn)][drawn])


def test_the_draw_is_the_seeds_alone(trained: Trained, other: Path, tmp_path: Path) -> None:
    def remapped(name: str, *overrides: str, seed: int | None = None) -> dict[str, torch.Tensor]:
        config = small_config("model.vocab_size=410", *overrides)
        remap_tokenizer(trained.run_dir, tmp_path / name, other, config=config, seed=seed)
        return weights(tmp_path / name)

    first = remapped("first")
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(threads + 1)
        again = remapped("again", "trainer.devices=4", "model.tensor_model_parallel_size=2")
    finally:
        torch.set_num_threads(threads)
    another = remapped("another", seed=5)
    assert (first[TABLES[0]].shape[0], again[TABLES[0]].shape[0]) == (432, 480)
    old_ids = token_map(tmp_path / "first")["old_ids"]
    copied = torch.tensor([index is not None for index in old_ids])
    assert len(old_ids) == 410
    assert 0 < copied.sum() < 400
    for name in TABLES:
        assert torch.equal(first[name][:410], again[name][:410])
        assert torch.equal(first[name][:410][copied], another[name][:410][copied])
        assert not torch.isclose(first[name][:410][~copied], another[name][:410][~copied]).all(dim=1).any()


def test_rows_without_a_token_stay_in_place(trained: Trained, tokenizer_model: Path, tmp_path: Path) -> None:
    """A model may have more rows than its tokenizer has tokens; they count as no tokens."""
    config = small_config("model.vocab_size=520")
    remap_tokenizer(trained.run_dir, tmp_path / "wide", tokenizer_model, config=config)
    remap_tokenizer(tmp_path / "wide", tmp_path / "again", tokenizer_model, config=config)
    before, after = weights(tmp_path / "wide"), weights(tmp_path / "again")
    assert all(torch.equal(before[name], tensor) for name, tensor in after.items())
    found = token_map(tmp_path / "again")
    assert found["tokens"] == found["copied"] == 500
    assert found["old_ids"] == list(range(520))
