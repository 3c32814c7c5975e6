from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import sentencepiece

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from data_prep.prepare import run
from data_prep.tokenize.train_tokenizer import train_tokenizer


def test_the_model_is_llama_like_and_the_same_twice(make_texts: Callable[..., list[str]]) -> None:
    texts = make_texts(500)
    content = train_tokenizer(texts, 512)
    assert content == train_tokenizer(iter(texts), 512)
    model = sentencepiece.SentencePieceProcessor(model_proto=content)
    assert (model.vocab_size(), model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()) == (512, 0, 1, 2, -1)
    assert sum(model.is_byte(index) for index in range(512)) == 256
    for text in ["\u4e00\n\t ", "  two  spaces ", "</s><s>", "\u212b ﬁ", *texts[:50]]:
        ids = model.encode(text)
        assert model.decode(ids) == text and not {0, 1, 2} & set(ids)
    digits = model.encode("12345", out_type=str)
    assert [piece.removeprefix("\u2581") for piece in digits if piece != "\u2581"] == list("12345")


def test_too_little_text_for_the_vocabulary_is_said_in_one_line() -> None:
    with pytest.raises(UserError, match=r"^model\.vocab_size=4096: .*use a smaller one[^\n]*$"):
        train_tokenizer(["to be or not to be"] * 100, 4096)


def test_a_users_own_text_gets_a_tokenizer_if_asked(
    make_config: Callable[..., Config],
    make_texts: Callable[..., list[str]],
    write_jsonl: Callable[[Path, list[str]], Path],
    tmp_path: Path,
) -> None:
    texts = write_jsonl(tmp_path / "mine.jsonl", make_texts(400))
    with pytest.raises(UserError, match=r"model\.tokenizer\.model=null: .*data\.train_tokenizer=true"):
        run(make_config(texts, "model.tokenizer.model=null", "data.train_tokenizer=false"))
    manifest = run(make_config(texts, "model.tokenizer.model=null", "data.train_tokenizer=true"))
    trained = sentencepiece.SentencePieceProcessor(model_file=str(manifest.tokenizer_file))
    assert trained.vocab_size() == 512
    smaller = run(make_config(texts, "model.tokenizer.model=null", "data.train_tokenizer=true", "model.vocab_size=384"))
    assert smaller.tokenizer.vocab_size == 384
