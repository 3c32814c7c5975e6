"""A tokenizer.json encodes as the tokenizers library does, without what it would add."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models

from custom_modules.errors import UserError
from custom_modules.tokenizer import copy_tokenizer, load_tokenizer


@pytest.fixture
def folder(byte_level: RustTokenizer, tmp_path: Path) -> Path:
    byte_level.save(str(tmp_path / "tokenizer.json"))
    return tmp_path


def _write(folder: Path, name: str, content: object) -> None:
    (folder / name).write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("tokenizer_config.json", {"eos_token": "<|end|>", "bos_token": {"content": "<|bos|>", "special": True}}),
        ("special_tokens_map.json", {"eos_token": {"content": "<|end|>"}, "bos_token": "<|bos|>"}),
        ("generation_config.json", {"eos_token_id": [1, 0], "bos_token_id": 0}),
    ],
)
def test_special_tokens_come_from_the_files_beside_it(folder: Path, name: str, content: object) -> None:
    with pytest.raises(UserError, match="nothing says which token ends a document; put the model's tokenizer_config"):
        load_tokenizer("huggingface", folder)
    _write(folder, name, content)
    tokenizer = load_tokenizer("huggingface", folder)
    assert (tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id) == (0, 1, None)
    assert tokenizer.vocab_size == 400


def test_special_tokens_in_a_text_are_text(folder: Path) -> None:
    _write(folder, "tokenizer_config.json", {"eos_token": "<|end|>"})
    tokenizer = load_tokenizer("huggingface", folder / "tokenizer.json")

    @settings(max_examples=300, deadline=None)
    @given(st.lists(st.sampled_from(["<|end|>", "<|bos|>", " ", "\n", "\x00", "é", "the "]) | st.text(max_size=5)))
    def holds(parts: list[str]) -> None:
        text = "".join(parts)
        ids = tokenizer.encode(text)
        assert tokenizer.encode_batch([text, ""]) == [ids, []]
        assert tokenizer.encode_as_exported(text) == ids
        assert tokenizer.decode(ids) == tokenizer.decode([0, *ids, 1]) == text
        assert not {0, 1} & set(ids)

    holds()
    assert len(tokenizer.encode("the value of the expression")) > 5
    tokenizer.check(["<|end|> the"])


def test_added_tokens_that_are_not_special_belong_to_the_vocabulary(byte_level: RustTokenizer, tmp_path: Path) -> None:
    byte_level.add_tokens(["    "])
    byte_level.save(str(tmp_path / "tokenizer.json"))
    _write(tmp_path, "tokenizer_config.json", {"eos_token": "<|end|>"})
    tokenizer = load_tokenizer("huggingface", tmp_path)
    assert tokenizer.vocab_size == 401
    assert tokenizer.encode("a    b")[1] == tokenizer.encode_as_exported("a    b")[1] == 400


def test_a_literal_that_would_become_a_control_token_is_refused(tmp_path: Path) -> None:
    RustTokenizer(models.Unigram([("<unk>", 0.0), ("</s>", -1.0), ("a", -2.0)], 0)).save(
        str(tmp_path / "tokenizer.json")
    )
    _write(tmp_path, "tokenizer_config.json", {"eos_token": "</s>", "unk_token": "<unk>"})
    with pytest.raises(UserError, match="turns </s> in a text into special token 1"):
        load_tokenizer("huggingface", tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"eos_token": "</s>"}', "eos_token=</s> is no token of tokenizer.json"),
        ('{"eos_token_id": 400}', "eos_token_id=400 is outside the 400 tokens"),
        ("{", "tokenizer_config.json: not JSON"),
    ],
)
def test_wrong_companions(folder: Path, content: str, message: str) -> None:
    (folder / "tokenizer_config.json").write_text(content)
    with pytest.raises(UserError, match=message):
        load_tokenizer("huggingface", folder)


def test_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.json there"):
        load_tokenizer("huggingface", tmp_path)
    with pytest.raises(UserError, match=r"no such file there; give a tokenizer\.json"):
        load_tokenizer("huggingface", tmp_path / "tokenizer.json")
    for content in (b"", b"{}", b"\xff", b'{"version": "1.0"}'):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(UserError, match="tokenizers library cannot read it"):
            load_tokenizer("huggingface", tmp_path)


def test_copy_takes_the_files_beside_it(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    _write(folder, "special_tokens_map.json", {"eos_token": "<|end|>"})
    copy = copy_tokenizer(load_tokenizer("huggingface", folder), tmp_path_factory.mktemp("copy"))
    assert load_tokenizer("huggingface", copy).eos_id == 1


def test_loading_needs_neither_torch_nor_transformers(llama_like: Path) -> None:
    code = (
        "import sys, pathlib; from custom_modules.tokenizer import load_tokenizer; "
        f"load_tokenizer('sentencepiece', pathlib.Path({str(llama_like)!r})).check(['a b']); "
        "assert not {'torch', 'transformers', 'megatron'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
