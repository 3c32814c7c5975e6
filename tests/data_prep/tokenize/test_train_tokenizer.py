from __future__ import annotations

import io
import random
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import sentencepiece

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from data_prep.prepare import run
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.tokenizers import LLAMA


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


def pieces(model: bytes) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    return [processor.id_to_piece(index) for index in range(processor.vocab_size())]


def train_on_whole_lines(lines: Iterable[str], vocab_size: int) -> list[str]:
    """The pieces that SentencePiece itself learns when it leaves no line out."""
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=vocab_size,
        **{**LLAMA, "max_sentence_length": 1 << 30, "split_digits": True},
    )
    return pieces(model.getvalue())


@pytest.mark.parametrize("line", [4_191, 4_192, 4_193, 8_400, 100_000])
def test_nothing_of_a_long_line_is_left_out(line: int, make_texts: Callable[..., list[str]]) -> None:
    text = " ".join(" ".join(make_texts(1_500, seed=2)).split())
    lines = [text[begin : begin + line].strip() for begin in range(0, len(text), line)]
    assert pieces(train_tokenizer(lines, 500)) == train_on_whole_lines(lines, 500)


def test_a_line_without_spaces_is_learnt_to_its_end() -> None:
    source = random.Random(0)
    alphabets = ("\u7684\u4e00\u662f", "\u6211\u4f60a\u00e9\U0001f600")
    line = "".join("".join(source.choices(alphabet, k=30_000)) for alphabet in alphabets)
    assert set(line) <= set("".join(pieces(train_tokenizer([line], 300))))


def test_a_line_with_the_character_that_sentencepiece_keeps_for_itself_is_not_left_out() -> None:
    learnt = "".join(pieces(train_tokenizer(["over and over \u2585 zebras zigzag"] * 50, 275)))
    assert {"v", "z"} <= set(learnt) and "\u2585" not in learnt


@pytest.mark.parametrize(
    ("text", "vocab_size", "which"), [("to be or not to be", 4096, "smaller"), ("to", 259, "larger")]
)
def test_a_vocabulary_that_does_not_fit_the_text_is_said_with_one_that_does(
    text: str, vocab_size: int, which: str
) -> None:
    with pytest.raises(UserError, match=rf"^model\.vocab_size={vocab_size}: [^\n]*; use a {which} one") as refused:
        train_tokenizer([text] * 100, vocab_size)
    (fits,) = re.findall(r"take (\d+)|fills (\d+)", str(refused.value))
    assert len(pieces(train_tokenizer([text] * 100, int("".join(fits))))) == int("".join(fits))


@pytest.mark.slow
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


@pytest.mark.parametrize(
    ("content", "more"),
    [(b"\x28\xb5\x2f\xfdnot really compressed", ["data.on_damaged_file=skip"]), (b'{"text": " \\n"}\n', [])],
)
def test_no_text_to_train_on_is_said(
    content: bytes, more: list[str], make_config: Callable[..., Config], tmp_path: Path
) -> None:
    file = tmp_path / ("damaged.jsonl.zst" if more else "blank.jsonl")
    file.write_bytes(content)
    options = ["model.tokenizer.model=null", "data.train_tokenizer=true", *more]
    with pytest.raises(UserError, match=r"^data\.input: no text in what can be read of it, [^\n]* model\.tokenizer\."):
        run(make_config(file, *options))
