"""What cannot hold conversations is refused in one line that says why."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from custom_modules.chat_tokenizer.prompt_format import CHAT_TEMPLATE, ChatTokenizer
from custom_modules.errors import UserError
from tests.support.chat import turns
from tests.support.tokenizers import ENGLISH, LLAMA, make_byte_level


def refused(library: str, path: Path, *words: str) -> None:
    with pytest.raises(UserError) as raised:
        ChatTokenizer.from_file(library, path)
    message = str(raised.value)
    assert "\n" not in message
    assert str(path) in message
    assert all(word in message for word in words), message


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "it is not a BPE model"),
        ({"byte_fallback": False}, "it has no byte fallback"),
        ({"normalization_rule_name": "nmt_nfkc"}, "it normalizes the text"),
        ({"remove_extra_whitespaces": True}, "it removes spaces"),
        ({"eos_id": -1}, "no eos piece"),
    ],
)
def test_a_sentencepiece_model_that_no_tokenizer_json_equals(
    tmp_path: Path, options: dict[str, Any], reason: str
) -> None:
    model = io.BytesIO()
    lines = [line for text in ENGLISH for line in text.splitlines()]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=model, vocab_size=500, **{**LLAMA, **options}
    )
    (tmp_path / "tokenizer.model").write_bytes(model.getvalue())
    refused("sentencepiece", tmp_path / "tokenizer.model", reason)


def save(folder: Path, tokenizer: Tokenizer, **config: str) -> Path:
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder / "tokenizer.json"


@pytest.mark.parametrize(
    ("eos", "reason"),
    [
        ("\u2603", "it is a single character"),
        ("<end of it>", "it has a blank in it"),
        ("||end||", "it ends as it begins"),
    ],
)
def test_a_control_token_that_a_message_could_hold(tmp_path: Path, eos: str, reason: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(special_tokens=[eos], initial_alphabet=alphabet, vocab_size=300, show_progress=False)
    tokenizer.train_from_iterator(["the value"], trainer)
    path = save(tmp_path, tokenizer, eos_token=eos)
    refused("huggingface", path, f"its control token {eos} cannot be kept text in a message, as {reason}")


def test_a_tokenizer_of_words(tmp_path: Path) -> None:
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["<end>"])
    refused("huggingface", save(tmp_path, tokenizer, eos_token="<end>"), "it is a WordLevel model")


def test_a_tokenizer_that_cuts_in_its_own_way(tmp_path: Path) -> None:
    tokenizer = make_byte_level()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Digits()])
    path = save(tmp_path, tokenizer, eos_token="<|end|>")
    content = json.loads(path.read_text())
    content["model"] |= {"unk_token": "a"}
    path.write_text(json.dumps(content))
    refused("huggingface", path, "it cuts a text in a way of its own (WhitespaceSplit, Digits)")


def test_a_tokenizer_that_loses_text(tmp_path: Path) -> None:
    tokenizer = make_byte_level()
    tokenizer.pre_tokenizer = None
    refused("huggingface", save(tmp_path, tokenizer, eos_token="<|end|>"), "it has no token for some characters")


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "system", "content": "a"}], "message 1: role=system, but .* there is no system role"),
        ([*turns(["a"]), *turns(["b"])], "message 2: role=user, but .* this is the assistant's"),
        ([{"role": "user", "content": None}], "message 1: content=None; give a text"),
        (turns(["a", "b\ud800"]), r"message 2: content='b\\ud800' has a lone surrogate"),
    ],
)
def test_messages_that_are_no_conversation(small: ChatTokenizer, messages: Any, reason: str) -> None:
    for encode in (small.encode, small.encode_prompt):
        with pytest.raises(UserError, match=reason):
            encode(messages)


def test_folders_that_are_no_chat_tokenizer(small: ChatTokenizer, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"tokenizer\.json: missing"):
        ChatTokenizer.load(tmp_path)
    small.save(tmp_path)
    template = (tmp_path / CHAT_TEMPLATE).read_text()
    (tmp_path / CHAT_TEMPLATE).write_text(template.replace(" | trim", ""))
    with pytest.raises(UserError, match=r"chat_template\.jinja: not Danube's prompt format"):
        ChatTokenizer.load(tmp_path)
    (tmp_path / CHAT_TEMPLATE).unlink()
    with pytest.raises(UserError, match=r"chat_template\.jinja: not Danube's prompt format"):
        ChatTokenizer.load(tmp_path)
    (tmp_path / CHAT_TEMPLATE).write_text(template)
    content = json.loads((tmp_path / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps({**content, "pre_tokenizer": None}))
    with pytest.raises(UserError, match="is not as `danube prepare` of conversations writes it"):
        ChatTokenizer.load(tmp_path)
    (tmp_path / "tokenizer.json").write_text(json.dumps(content)[:-5])
    with pytest.raises(UserError, match=r"tokenizer\.json: not JSON"):
        ChatTokenizer.load(tmp_path)
