"""What `danube inspect` shows is what was prepared."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.data.inspect import open_index

Run = subprocess.CompletedProcess[str]


def test_the_list_of_datasets(danube: Callable[..., Run], prepared: Path) -> None:
    shown = danube("inspect", str(prepared)).stdout.splitlines()
    assert shown[0].split() == ["dataset", "stage", "split", "source", "documents", "tokens", "dtype"]
    index = open_index(prepared / "stage1" / "text_train.idx")
    assert f"{index.documents:,}" in shown[1]
    assert f"{index.tokens:,}" in shown[1]
    assert len(shown) == 5


def test_documents_are_shown_decoded(danube: Callable[..., Run], prepared: Path) -> None:
    texts = {json.loads(line)["text"] for line in (prepared.parent / "text.jsonl").read_text().splitlines()}
    prefix = prepared / "stage1" / "text_train"
    for path in (prefix, f"{prefix}.bin", f"{prefix}.idx"):
        shown = danube("inspect", str(path), "--document", "3", "--count", "2").stdout.split("\n\n")
        assert [title.split(":")[0] for title in shown[1:]] == ["document 3", "document 4"]
        for document in shown[1:]:
            assert document.splitlines()[1].removesuffix("[EOD]") in texts
            assert "ends in EOD (2)" in document.splitlines()[0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stage1/text_train", "--document", "99999"], "--document 99999: "),
        (["stage1/text_train", "--count", "0"], "--count 0: nothing to show"),
        (["stage1/nosuch"], "cannot be read (No such file or directory)"),
        ([".", "--document", "1"], "is a folder; give one of its datasets"),
    ],
)
def test_mistakes(arguments: list[str], message: str, danube: Callable[..., Run], prepared: Path) -> None:
    refused = danube("inspect", *arguments, cwd=prepared)
    assert refused.returncode == 2
    assert message in refused.stderr
    assert refused.stderr.count("\n") == 1
