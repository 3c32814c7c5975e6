"""The exported tokenizer, loaded as users load it, encodes exactly as training did."""

from __future__ import annotations

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pytest
import sentencepiece
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from custom_modules.conversion import from_hf, to_hf, verify
from custom_modules.conversion.hf_tokenizer import read_tokenizer, write_tokenizer
from custom_modules.conversion.sample import sample
from custom_modules.errors import UserError
from custom_modules.tokenizer import load_tokenizer
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.trained import Trained, small_config

HOSTILE = [
    *(" ", "  ", "     ", "\n", "\r\n", "\t", "\x00", "\u00a0", "\u200b", "\ufeff", "\u2581", "\ufffd", "<0x41>"),
    *(
        "<s>",
        "</s>",
        "<unk>",
        "<|end|>",
        "é",
        "e\u0301",
        "ﬁ",
        "日本",
        "👩‍👩‍👧",
        "\U0010ffff",
        "the",
        "The ",
        "==",
        ".",
        " 's",
    ),
]
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=20).map("".join)


@pytest.fixture(scope="module")
def loaded(exported: Path, tmp_path_factory: pytest.TempPathFactory) -> list[PreTrainedTokenizerBase]:
    """The tokenizer is loaded as exported, and as a user saves it again after fine-tuning."""
    again = tmp_path_factory.mktemp("again")
    first = AutoTokenizer.from_pretrained(exported)
    first.save_pretrained(again)
    (again / "config.json").write_bytes((exported / "config.json").read_bytes())
    return [first, AutoTokenizer.from_pretrained(again)]


def test_encodes_as_sentencepiece(loaded: list[PreTrainedTokenizerBase], tokenizer_model: Path) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))

    @settings(max_examples=500, deadline=None)
    @given(text=texts)
    @example(text="")
    @example(text="a</s> b<s>  </s>")
    def holds(text: str) -> None:
        ids = reference.encode(text)
        for tokenizer in loaded:
            assert tokenizer.encode(text, add_special_tokens=False) == ids
            assert tokenizer.encode(text) == ids
            assert tokenizer(text)["input_ids"] == ids
            assert tokenizer.decode([*ids, 2], skip_special_tokens=True) == text.replace("\u2581", " ")

    holds()


def test_special_tokens(loaded: list[PreTrainedTokenizerBase]) -> None:
    for tokenizer in loaded:
        assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("</s>", 2)
        assert tokenizer.bos_token_id == 2
        assert tokenizer.unk_token_id == 0
        assert len(tokenizer) == 500
        assert tokenizer.model_max_length == 1024
        assert set(tokenizer("a b")) == {"input_ids", "attention_mask"}
        assert tokenizer.decode([*tokenizer.encode("a b"), 2]) == "a b</s>"


def test_generate_stops_at_eos(exported: Path) -> None:
    model: Any = AutoModelForCausalLM.from_pretrained(exported)
    prompt = torch.tensor([[5, 6, 7]])
    others = [index for index in range(500) if index != 2]
    generated = model.generate(prompt, max_new_tokens=5, suppress_tokens=others)
    assert generated.tolist() == [[5, 6, 7, 2]]


def test_sample(exported: Path, tmp_path: Path) -> None:
    text = sample(exported, "Return the  ", 8, seed=1)
    assert text.startswith("Return the  ")
    assert len(text) > len("Return the  ")
    assert sample(exported, "Return the  ", 8, seed=1) == text
    assert sample(exported, "", 4, seed=1)
    with pytest.raises(UserError, match="not a Hugging Face folder"):
        sample(tmp_path, "a", 1, seed=1)


def test_a_model_without_equal_json_is_left_to_sentencepiece(trained: Trained, exported: Path, tmp_path: Path) -> None:
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(["the value of an expression"] * 20 + list("abcdefghijklmnopqrstuvwxyz")),
        model_prefix=str(tmp_path / "tokenizer"),
        vocab_size=30,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    tokenizer = load_tokenizer("sentencepiece", tmp_path)
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_bytes((exported / "config.json").read_bytes())
    write_tokenizer(tokenizer, folder, 1024)
    with pytest.raises((OSError, ValueError)):
        AutoTokenizer.from_pretrained(folder)
    assert read_tokenizer(folder, "sentencepiece").encode("the ﬁrst") == tokenizer.encode("the ﬁrst")


def test_a_tokenizer_of_hugging_face(exported: Path, tmp_path: Path) -> None:
    """Byte-level BPE whose post-processor adds bos; special and other added tokens."""
    original = RustTokenizer(models.BPE())
    original.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    original.decoder = decoders.ByteLevel()
    special = ["<|bos|>", "<|end|>", "<|user|>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    original.train_from_iterator(["the value of the expression </s>"] * 5, trainer)
    original.add_tokens(["     "])
    original.post_processor = processors.TemplateProcessing(single="<|bos|> $A", special_tokens=[("<|bos|>", 0)])
    original.save(str(tmp_path / "tokenizer.json"))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "bos_token": "<|bos|>"}))
    tokenizer = load_tokenizer("huggingface", tmp_path)
    folder = tmp_path / "hf"
    folder.mkdir()
    (folder / "config.json").write_bytes((exported / "config.json").read_bytes())
    write_tokenizer(tokenizer, folder, 1024)
    auto = AutoTokenizer.from_pretrained(folder)
    assert (auto.eos_token_id, len(auto)) == (1, tokenizer.vocab_size)
    assert read_tokenizer(folder, "huggingface").eos_id == 1

    @settings(max_examples=300, deadline=None)
    @given(text=texts)
    @example(text="<|user|>a<|end|><|bos|>      b")
    def holds(text: str) -> None:
        assert auto.encode(text) == tokenizer.encode(text)
        assert auto.decode([*tokenizer.encode(text), 1], skip_special_tokens=True) == text

    holds()


def test_a_run_with_a_tokenizer_of_hugging_face(trained: Trained, exported: Path, tmp_path: Path) -> None:
    """The checkpoint keeps the file that names the eos beside the tokenizer.json."""
    config = small_config("model.tokenizer.library=huggingface")
    from_hf(exported, tmp_path / "run", config)
    to_hf(tmp_path / "run", tmp_path / "hf")
    assert not (tmp_path / "hf" / "tokenizer.model").exists()
    first, second = AutoTokenizer.from_pretrained(exported), AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert second.eos_token_id == 2
    assert second.encode("  a </s>\n") == first.encode("  a </s>\n")
    assert verify(tmp_path / "run", tmp_path / "hf") < 1e-5


def test_a_tokenizer_larger_than_the_model(trained: Trained, exported: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).symlink_to(exported / name)
    (folder / "tokenizer.model").write_bytes(train_tokenizer(topics.values(), 600))
    with pytest.raises(UserError, match=r"600 tokens, but model\.vocab_size=500"):
        from_hf(folder, tmp_path / "run", trained.config)
