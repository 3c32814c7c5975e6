"""A document that the tokenizer would leave a character of out ends `danube prepare` with its file, line and place."""

from __future__ import annotations

import json
import string
from collections.abc import Callable
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from custom_modules.config.schema import Config
from custom_modules.data.manifest import read_manifest
from custom_modules.errors import UserError
from data_prep.prepare import run

TEXTS = [f"{word} {number} {word}" for number, word in enumerate(string.ascii_lowercase * 4)]


@pytest.fixture
def tokenizer(tmp_path: Path) -> list[str]:
    """Overrides for a BPE of ASCII letters without an unknown token, whatever is printable and nothing else."""
    folder = tmp_path / "ascii"
    folder.mkdir()
    pieces = [*string.printable, "</s>"]
    model = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(pieces)}, merges=[]))
    model.add_special_tokens(["</s>"])
    model.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>"}))
    return [
        "model.tokenizer.library=huggingface",
        f"model.tokenizer.model={folder}",
        f"model.vocab_size={len(pieces)}",
    ]


def test_it_is_named_by_file_line_and_place(
    tmp_path: Path,
    tokenizer: list[str],
    make_config: Callable[..., Config],
    write_jsonl: Callable[..., Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = [*TEXTS]
    texts[40] = "what is it \u2013 a dash"
    texts[70] = "caf\u00e9"
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    with pytest.raises(UserError) as lost:
        run(make_config(path, *tokenizer, "data.on_error=skip"))
    assert str(lost.value).startswith(f"{path}:41: model.tokenizer.model=")
    assert "no token for '\u2013' (U+2013), character 12 of the text, which would be lost; give" in str(lost.value)
    assert "encoding with huggingface itself" in capsys.readouterr().err
    assert read_manifest(tmp_path / "data") is None


@pytest.mark.slow
def test_a_document_that_a_step_removes_is_none_that_text_is_lost_of(
    tmp_path: Path, tokenizer: list[str], make_config: Callable[..., Config], write_jsonl: Callable[..., Path]
) -> None:
    question = "caf\u00e9 or tea or milk or water or juice or wine or beer or nothing at all today"
    (tmp_path / "quiz.jsonl").write_text(json.dumps({"q": question}))
    path = write_jsonl(tmp_path / "a.jsonl", [*TEXTS, question])
    steps = f"data.steps.decontaminate.files=[{tmp_path / 'quiz.jsonl'}]"
    assert run(make_config(path, *tokenizer, steps)).removed == {"decontaminate": {"overlap with quiz": 1}}
    write_jsonl(path, [*TEXTS, question, "caf\u00e9"])
    with pytest.raises(UserError, match=r"a\.jsonl:106: .*'\u00e9' \(U\+00E9\), character 4 of the text"):
        run(make_config(path, *tokenizer, steps))
