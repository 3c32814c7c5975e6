"""Mistakes end in one line and leave nothing behind."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models, pre_tokenizers

from custom_modules.cli import main
from custom_modules.conversion import from_hf, remap_tokenizer
from custom_modules.errors import UserError
from tests.support.trained import Trained, small_config


def test_an_output_that_is_there(trained: Trained, tokenizer_model: Path, tmp_path: Path) -> None:
    remap_tokenizer(trained.checkpoint, tmp_path / "new", tokenizer_model)
    (tmp_path / "new" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match="new: already there; give another folder"):
        remap_tokenizer(trained.checkpoint, tmp_path / "new", tokenizer_model)
    assert (tmp_path / "new" / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


@pytest.mark.parametrize("carry", [False, True])
def test_a_checkpoint_of_weights(
    trained: Trained, exported: Path, tokenizer_model: Path, tmp_path: Path, carry: bool
) -> None:
    """The checkpoint is as from-hf writes it."""
    from_hf(exported, tmp_path / "imported", trained.config)
    if not carry:
        target = remap_tokenizer(tmp_path / "imported", tmp_path / "new", tokenizer_model)
        assert json.loads((target / "metadata.json").read_text())["weights_only"]
        return
    with pytest.raises(UserError, match="it holds weights only, no optimizer state; use --optimizer reset"):
        remap_tokenizer(tmp_path / "imported", tmp_path / "new", tokenizer_model, carry_optimizer=True)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("model.num_layers=2", r"model\.num_layers=2: .*tokens_\d+ has 3; set model\.num_layers=3"),
        ("model.kv_channels=8", r"model\.kv_channels=8: .* has 12"),
        ("model.rotary_base=10000", r"model\.rotary_base=10000\.0: .* has 5000\.0"),
        ("model.vocab_size=499", r"500 tokens, but model\.vocab_size=499; set model\.vocab_size=500"),
        ("model.tokenizer.library=huggingface", "cannot read it"),
    ],
)
def test_a_config_of_another_model(
    trained: Trained, tokenizer_model: Path, tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(UserError, match=message):
        remap_tokenizer(trained.run_dir, tmp_path / "new", tokenizer_model, config=small_config(override))
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_that_is_not_the_checkpoints(
    trained: Trained, tokenizer_model: Path, other: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--from .*: not the tokenizer of .*tokens_\d+ \(SHA-256 .*; leave --from out"):
        remap_tokenizer(trained.run_dir, tmp_path / "new", tokenizer_model, old=other)
    with pytest.raises(UserError, match="nowhere: no such file there"):
        remap_tokenizer(trained.run_dir, tmp_path / "new", tmp_path / "nowhere")
    with pytest.raises(UserError, match="no such folder"):
        remap_tokenizer(tmp_path / "nowhere", tmp_path / "new", tokenizer_model)
    assert not list(tmp_path.iterdir())


def test_a_kind_that_cannot_be_compared(trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = RustTokenizer(models.WordPiece({"[UNK]": 0, "a": 1, "##b": 2}, unk_token="[UNK]"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    pieces.add_special_tokens(["[SEP]"])
    (tmp_path / "bert").mkdir()
    pieces.save(str(tmp_path / "bert" / "tokenizer.json"))
    (tmp_path / "bert" / "tokenizer_config.json").write_text('{"eos_token": "[SEP]"}')
    assert main(["remap-tokenizer", str(trained.run_dir), str(tmp_path / "new"), "--to", str(tmp_path / "bert")]) == 2
    out, err = capsys.readouterr()
    assert not out
    (line,) = err.splitlines()
    assert line.startswith(f"danube: {tmp_path / 'bert' / 'tokenizer.json'}: what its tokens stand for cannot be")
    assert "it is a WordPiece model" in line
    assert [path.name for path in tmp_path.iterdir()] == ["bert"]


def test_overrides_without_a_config(
    trained: Trained, tokenizer_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [str(trained.run_dir), str(tmp_path / "new"), "model.vocab_size=600", "--to", str(tokenizer_model)]
    assert main(["remap-tokenizer", *arguments]) == 2
    assert capsys.readouterr().err.startswith("danube: model.vocab_size=600: give --config-name too")
    assert not list(tmp_path.iterdir())


def test_a_write_that_fails_leaves_nothing(
    trained: Trained,
    tokenizer_model: Path,
    tmp_path: Path,
    full_disk: Callable[[int], AbstractContextManager[None]],
) -> None:
    with full_disk(50_000), pytest.raises(UserError, match=r"new: cannot be written \(File too large\)"):
        remap_tokenizer(trained.run_dir, tmp_path / "new", tokenizer_model)
    assert not list(tmp_path.iterdir())
