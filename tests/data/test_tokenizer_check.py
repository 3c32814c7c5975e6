"""The tokenizer that a config names is the data's, or training refuses; one that isn't there is not needed."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.data.manifest import load_manifest
from custom_modules.data.tokenizer_check import check_tokenizer
from custom_modules.errors import UserError
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]


def notes(prepared: Path, *overrides: str) -> list[str]:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", *overrides])
    return list(check_tokenizer(config, load_manifest(config)))


def test_the_datas_own_by_whatever_path(prepared: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(tokenizer_folder(prepared), copy)
    assert notes(prepared) == []
    assert notes(prepared, f"model.tokenizer.model={copy}") == []
    assert notes(prepared, f"model.tokenizer.model={copy / 'tokenizer.model'}") == []


def tokenizer_folder(prepared: Path) -> Path:
    return load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}"])).tokenizer_file.parent


def test_another_library_is_refused(prepared: Path) -> None:
    with pytest.raises(
        UserError, match=r"^model\.tokenizer\.library=huggingface: .* set model\.tokenizer\.library=sent"
    ):
        notes(prepared, "model.tokenizer.library=huggingface")


def test_another_content_is_refused(prepared: Path, tmp_path: Path) -> None:
    other = tmp_path / "tokenizer.model"
    other.write_bytes((tokenizer_folder(prepared) / "tokenizer.model").read_bytes() + b"\n")
    with pytest.raises(UserError) as caught:
        notes(prepared, f"model.tokenizer.model={other}")
    assert str(caught.value).startswith(f"model.tokenizer.model={other}: another tokenizer than {prepared}")


def test_one_that_is_not_there_is_not_needed(prepared: Path, tmp_path: Path) -> None:
    [line] = notes(prepared, f"model.tokenizer.model={tmp_path / 'moved'}")
    assert line.startswith(f"model.tokenizer.model={tmp_path / 'moved'}: is not there, and is not needed")


@pytest.mark.slow
def test_pretrain_refuses_and_says(tiny: Callable[..., list[str]], danube: Callable[..., Run], tmp_path: Path) -> None:
    refused = danube(*tiny("refused", "trainer.devices=1", "model.tokenizer.library=huggingface"))
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert refused.stderr.startswith("danube: model.tokenizer.library=huggingface: ")
    words = ["model.tokenizer.model=gone.model", "model.cp_comm_type=a2a", "trainer.log_every_n_steps=1"]
    done = danube(*tiny("run", "trainer.devices=2", "curriculum.stages.stage1.tokens=512", *words))
    assert done.returncode == 0
    assert done.stderr.count("model.tokenizer.model=gone.model: is not there, and is not needed") == 1
    assert done.stderr.count("model.cp_comm_type=a2a: without effect in this run") == 1
    assert done.stderr.count("trainer.log_every_n_steps=1: trainer.log_every_n_tokens=512") == 1
