"""The exported tokenizer, loaded as users load it, encodes exactly as training did."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
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
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase, pipeline

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


def with_control_tokens(text: str, control: dict[str, int], encode: Callable[[str], list[int]]) -> list[int]:
    """The ids of a text whose control tokens are themselves, and what is between them is a document each."""
    parts = re.split(f"({'|'.join(map(re.escape, control))})", text)
    return [index for part in parts for index in ([control[part]] if part in control else encode(part))]


def test_encodes_as_sentencepiece_between_control_tokens(
    loaded: list[PreTrainedTokenizerBase], exported: Path, tokenizer_model: Path
) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    alone = RustTokenizer.from_file(str(exported / "tokenizer.json"))

    @settings(max_examples=500, deadline=None)
    @given(text=texts)
    @example(text="")
    @example(text="a</s>b")
    @example(text="a</s> b<s>  </s>")
    def holds(text: str) -> None:
        plain = reference.encode(text)
        ids = with_control_tokens(text, {"<unk>": 0, "<s>": 1, "</s>": 2}, reference.encode)
        assert alone.encode(text).ids == ids
        for tokenizer in loaded:
            assert tokenizer.encode(text, add_special_tokens=False) == ids
            assert tokenizer.encode(text) == ids
            assert tokenizer(text)["input_ids"] == ids
            assert tokenizer.encode(text, split_special_tokens=True) == plain
            assert tokenizer.decode([*plain, 2], skip_special_tokens=True) == text.replace("\u2581", " ")

    holds()


def test_preparing_data_with_the_exported_tokenizer_keeps_control_tokens_text(
    exported: Path, tokenizer_model: Path
) -> None:
    model, tokenizer = load_tokenizer("sentencepiece", tokenizer_model), load_tokenizer("huggingface", exported)
    tokenizer.check(HOSTILE)
    for text in (*HOSTILE, "a</s>b", "</s> <s>x<unk>"):
        assert tokenizer.encode(text) == tokenizer.encode_batch([text])[0] == model.encode(text)


def test_a_chat_template_ends_each_answer(loaded: list[PreTrainedTokenizerBase], tokenizer_model: Path) -> None:
    reference = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_model))
    template = "{% for message in messages %}{{ message.content }}</s>{% endfor %}"
    messages = [{"role": "user", "content": "the value"}, {"role": "assistant", "content": " of it"}]
    for tokenizer in loaded:
        ids = tokenizer.apply_chat_template(messages, chat_template=template, return_dict=False)
        assert ids == [*reference.encode("the value"), 2, *reference.encode(" of it"), 2]


def test_batches_are_padded_on_both_sides(loaded: list[PreTrainedTokenizerBase], exported: Path) -> None:
    short, long = "the", "the value of</s>"
    model: Any = AutoModelForCausalLM.from_pretrained(exported)
    assert model.generation_config.pad_token_id == 0
    for tokenizer in loaded:
        assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<unk>", 0)
        rows = [tokenizer.encode(text) for text in (short, long)]
        padding = [0] * (len(rows[1]) - len(rows[0]))
        for side, padded in (("right", [*rows[0], *padding]), ("left", [*padding, *rows[0]])):
            batch = tokenizer([short, long], padding=True, padding_side=side)
            assert batch["input_ids"] == [padded, rows[1]]
            assert batch["attention_mask"] == [[int(index != 0) for index in padded], [1] * len(rows[1])]
        batch = tokenizer([short, long], padding=True, padding_side="left", return_tensors="pt")
        generated = model.generate(**batch, max_new_tokens=8)
        for row, ids in zip(generated, rows, strict=True):
            [single] = model.generate(torch.tensor([ids]), max_new_tokens=8)
            assert row.tolist()[len(rows[1]) :] == single.tolist()[len(ids) :]


def test_pipeline(exported: Path) -> None:
    generate = pipeline("text-generation", model=str(exported))
    prompts = ["the", "the value of an expression"]
    together = generate(prompts, batch_size=2, max_new_tokens=8)
    alone = [generate(prompt, max_new_tokens=8) for prompt in prompts]
    assert together == alone
    [[answer]] = generate(["the</s>"], max_new_tokens=1, return_full_text=False)
    assert set(answer) == {"generated_text"}


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
    assert (auto.eos_token_id, auto.pad_token_id, len(auto)) == (1, 0, tokenizer.vocab_size)
    again = read_tokenizer(folder, "huggingface")
    assert again.eos_id == 1
    control = {"<|bos|>": 0, "<|end|>": 1, "<|user|>": 2}

    @settings(max_examples=300, deadline=None)
    @given(text=texts)
    @example(text="<|user|>a<|end|><|bos|>      b")
    def holds(text: str) -> None:
        assert auto.encode(text) == with_control_tokens(text, control, tokenizer.encode)
        assert again.encode(text) == tokenizer.encode(text)
        assert auto.decode([*tokenizer.encode(text), 1], skip_special_tokens=True) == text

    holds()


@pytest.mark.parametrize(
    "written",
    [
        [],
        [{"id": 2, "content": "</s>", "normalized": True, "single_word": True}],
        [{"id": 2, "content": "</s>", "normalized": True}, {"id": 1, "content": "<s>", "normalized": True}],
    ],
)
def test_control_tokens_that_a_tokenizer_json_would_not_find(
    exported: Path, tmp_path: Path, written: list[dict[str, Any]]
) -> None:
    """Unmarked, or only as a word, or only where the normalizer has put a space before a text."""
    content = json.loads((exported / "tokenizer.json").read_text())
    added = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content["added_tokens"] = [added | token for token in written]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": "</s>", "bos_token": "<s>"}))
    tokenizer = load_tokenizer("huggingface", tmp_path)
    (tmp_path / "hf").mkdir()
    write_tokenizer(tokenizer, tmp_path / "hf", 1024)
    alone = RustTokenizer.from_file(str(tmp_path / "hf" / "tokenizer.json"))
    for text in ("a</s>b", "</s>", "a</s>", " <s> a<unk>b </s>\n"):
        expected = with_control_tokens(text, {"<unk>": 0, "<s>": 1, "</s>": 2}, tokenizer.encode)
        assert alone.encode(text).ids == expected


@pytest.mark.parametrize(
    ("special", "companion", "pad"),
    [
        (["<|end|>", "<|bos|>", "<unk>", "<pad>"], {"unk_token": "<unk>", "pad_token": "<pad>"}, "<unk>"),
        (["<|end|>", "<|bos|>", "<pad>"], {"bos_token": "<|bos|>", "pad_token": "<pad>"}, "<pad>"),
        (["<|end|>", "<|user|>", "<|bos|>"], {"bos_token": "<|bos|>"}, "<|bos|>"),
        (["<|end|>", "<|user|>"], {"unk_token": "<|end|>", "pad_token": "<|end|>", "bos_token": "<|end|>"}, "<|user|>"),
        (["<|end|>"], {"pad_token": "[PAD]"}, "<|end|>"),
        (["<|end|>"], {"pad_token": "a"}, "<|end|>"),
    ],
)
def test_the_padding_token(
    exported: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    special: list[str],
    companion: dict[str, str],
    pad: str,
) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config.json", "model.safetensors"):
        (source / name).symlink_to(exported / name)
    made = RustTokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=special,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(["the value"], trainer)
    made.save(str(source / "tokenizer.json"))
    (source / "tokenizer_config.json").write_text(json.dumps({**companion, "eos_token": "<|end|>"}))
    from_hf(source, tmp_path / "run", small_config("model.tokenizer.library=huggingface"))
    capfd.readouterr()
    to_hf(tmp_path / "run", tmp_path / "hf")
    config, generation = (
        json.loads((tmp_path / "hf" / name).read_text()) for name in ("tokenizer_config.json", "generation_config.json")
    )
    assert config["pad_token"] == pad
    assert generation["pad_token_id"] == special.index(pad)
    said = (
        "pad_token is <|end|>, the end of text, as the tokenizer has no other control token" in capfd.readouterr().err
    )
    assert said == (pad == "<|end|>")


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
