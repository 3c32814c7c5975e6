"""Ids: as the library cuts a context from its continuation, and as SFT encoded a conversation."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from custom_modules.errors import UserError
from custom_modules.scoring.encoding import PlainEncoder, chat_encoder, check_agreement
from custom_modules.tasks.items import Answer, Item
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from tests.support.evaluated import Evaluated, make_tokenizer
from tests.support.evaluation import sentences


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tokenizer(tmp_path_factory.mktemp("encoding"))


@pytest.fixture(scope="module")
def tokenizer(model: Path) -> Tokenizer:
    return load_tokenizer("sentencepiece", model)


class NoScorer:
    def score(self, items: Sequence[Item]) -> list[tuple[Answer, ...]]:
        raise AssertionError


def test_pairs_are_cut_as_the_library_cuts_them(tokenizer: Tokenizer) -> None:
    from custom_modules.scoring.language_model import LanguageModel

    encoder, source = PlainEncoder(tokenizer), random.Random(1)
    library = LanguageModel(NoScorer(), encoder, 99)
    for _ in range(300):
        context = source.choice(sentences()) + source.choice(["", " ", "  ", "\n", "\nAnswer:", " \n "])
        text = source.choice(["", " ", "\n"]) + source.choice(sentences())
        assert encoder.pair(context, text) == library._encode_pair(context, text)
    assert encoder.pair("", "A river") == ([tokenizer.eos_id], tokenizer.encode("A river"))
    assert encoder.pair("  ", "A") == ([tokenizer.eos_id], tokenizer.encode("  A"))
    assert encoder.prompt("") == [tokenizer.eos_id]
    assert tokenizer.eos_id not in encoder.prompt("A river</s>")


def test_conversations_are_encoded_as_in_training(model: Path, tmp_path: Path) -> None:
    chat = ChatTokenizer.from_file("sentencepiece", model)
    chat.save(tmp_path)
    encoder = chat_encoder(tmp_path / "tokenizer.json", (chat.eos_id,))
    source = random.Random(2)
    for _ in range(100):
        texts = source.sample(sentences(), 4)
        roles = ["user", "assistant", "user", "assistant"]
        messages = [{"role": role, "content": text} for role, text in zip(roles, texts, strict=True)]
        context = chat.render(messages[:3], begins_answer=True)
        before, behind = encoder.pair(context, texts[3])
        assert [*before, *behind, chat.eos_id] == chat.encode(messages).ids
        assert before == chat.encode_prompt(messages[:3]) == encoder.prompt(context)
        assert encoder.decode(behind) == texts[3]


def test_a_folder_whose_tokenizers_agree(evaluated: Evaluated, model: Path, tmp_path: Path) -> None:
    ChatTokenizer.from_file("sentencepiece", model).save(tmp_path)
    texts = [*sentences(), "a </s> b", "<|prompt|>>= a", "  ", ""]
    check_agreement(load_tokenizer("sentencepiece", tmp_path), tmp_path / "tokenizer.json", texts)
    export = load_tokenizer("sentencepiece", evaluated.export)
    check_agreement(export, evaluated.export / "tokenizer.json", texts)


def test_a_folder_whose_tokenizers_disagree_on_one_text(model: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    content = tokenizer.to_json()
    vocabulary = content["model"]["vocab"]
    vocabulary["w"], vocabulary["k"] = vocabulary["k"], vocabulary["w"]
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(content))
    wrong = "kwkwk"
    check_agreement(tokenizer, path, ["a", "b"])
    with pytest.raises(UserError) as error:
        check_agreement(tokenizer, path, ["a", "b", wrong])
    assert repr(wrong) in str(error.value) and "tokenizer.model" in str(error.value)
