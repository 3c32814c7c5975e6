"""A file that may not be read is named, and neither what is written nor what is whole is blamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from custom_modules.conversion import from_hf, remap_tokenizer, to_hf
from custom_modules.errors import UserError
from tests.support.rights import NOBODY, nobody
from tests.support.trained import Trained, small_config


@pytest.fixture(scope="module", autouse=True)
def imported(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a conversion imports is there: nobody may not read this interpreter's own files."""
    from_hf(exported, tmp_path_factory.mktemp("imported") / "run", small_config())


def refused(convert: Callable[[], object], path: Path) -> None:
    """Take the right to read one file away, and look at what is said of it."""
    mode = path.stat().st_mode
    path.chmod(0)
    with nobody(), pytest.raises(UserError) as raised:
        convert()
    path.chmod(mode)
    assert str(raised.value).startswith(f"{path}: ")
    assert "Permission denied" in str(raised.value) and "cannot be written" not in str(raised.value)


def opened(source: Path, target: Path) -> Path:
    """A copy that everybody reads."""
    copy = shutil.copytree(source, target)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return copy


@pytest.fixture
def output(open_folder: Path) -> Path:
    """A folder that nobody may write into."""
    folder = open_folder / "output"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    return folder


def test_of_a_checkpoint(trained: Trained, other: Path, open_folder: Path, output: Path) -> None:
    checkpoint = opened(trained.checkpoint, open_folder / trained.checkpoint.name)
    new = open_folder / "new.model"
    new.write_bytes(other.read_bytes())
    new.chmod(0o644)
    shard = next(checkpoint.glob("dist/*.distcp"))
    for path in (shard, checkpoint / "tokenizer" / "tokenizer.model"):
        refused(lambda: to_hf(checkpoint, output / "hf"), path)
    for path in (shard, new):
        refused(lambda: remap_tokenizer(checkpoint, output / "run", new), path)
    assert not list(output.iterdir())


def test_of_a_hugging_face_folder(exported: Path, trained: Trained, open_folder: Path, output: Path) -> None:
    source = opened(exported, open_folder / "hf")
    sharded = open_folder / "sharded"
    to_hf(trained.checkpoint, sharded, shard_bytes=100_000)
    index = sharded / "model.safetensors.index.json"
    shard = sharded / sorted(json.loads(index.read_text())["weight_map"].values())[0]
    for path in (source / "config.json", source / "model.safetensors", source / "tokenizer.model", index, shard):
        refused(partial(from_hf, path.parent, output / "run", small_config()), path)
    assert not list(output.iterdir())


def test_of_a_tokenizer_json(exported: Path, open_folder: Path, output: Path) -> None:
    source = opened(exported, open_folder / "hf")
    config = small_config("model.tokenizer.library=huggingface")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        refused(lambda: from_hf(source, output / "run", config), source / name)
