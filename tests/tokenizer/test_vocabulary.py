"""What ids stand for, and which ids of two vocabularies are the same."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import bytes_to_unicode

from custom_modules.conversion.hf_tokenizer import write_tokenizer
from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet
from custom_modules.tokenizer.sentencepiece_json import ModelProto
from custom_modules.tokenizer.vocabulary import Kind, match

HOSTILE = ("a  b\n\t", "é日本\x00", "\U0001f9d1 the", "<0x0A></s>", "  two  spaces ")


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Tokenizer]:
    """Loads a tokenizer of the `tokenizers` library; ``companion`` is its tokenizer_config.json."""

    def save(tokenizer: RustTokenizer, **companion: Any) -> Tokenizer:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(companion))
        return load_tokenizer("huggingface", tmp_path)

    return save


@pytest.fixture
def from_byte_level(byte_level: RustTokenizer, saved: Callable[..., Tokenizer]) -> Tokenizer:
    return saved(byte_level, eos_token="<|end|>", bos_token="<|bos|>")


@pytest.mark.parametrize("library", ["sentencepiece", "huggingface"])
def test_a_text_is_the_bytes_of_its_tokens(
    library: str, llama_like: Path, byte_level: RustTokenizer, tmp_path: Path
) -> None:
    if library == "sentencepiece":
        tokenizer, prefix = load_tokenizer(library, llama_like), b" "
    else:
        byte_level.add_tokens(["     "])
        byte_level.save(str(tmp_path / "tokenizer.json"))
        (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
        tokenizer, prefix = load_tokenizer(library, tmp_path), b""
    tokens = tokenizer.tokens()
    assert len(tokens) == tokenizer.vocab_size

    @settings(max_examples=200, deadline=None)
    @given(text=st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), min_size=1, max_size=20).map("".join))
    @example(text="a      b")
    def holds(text: str) -> None:
        used = [tokens[index] for index in tokenizer.encode(text)]
        assert {token.kind for token in used} <= {Kind.TEXT, Kind.BYTE}
        content = text.replace("\u2581", " ") if prefix else text
        assert b"".join(token.content for token in used) == (prefix + content.encode() if text else b"")

    holds()


def test_the_byte_alphabet_is_transformers() -> None:
    assert byte_alphabet() == {character: byte for byte, character in bytes_to_unicode().items()}


def test_a_model_and_its_tokenizer_json_are_one_vocabulary(llama_like: Path, tmp_path: Path) -> None:
    """Though the JSON does not say that ``<s>`` is the bos."""
    model = load_tokenizer("sentencepiece", llama_like)
    write_tokenizer(model, tmp_path, 1024)
    exported = load_tokenizer("huggingface", tmp_path)
    assert match(model.tokens(), exported.tokens()) == list(range(1000))
    assert match(exported.tokens(), model.tokens()) == list(range(1000))


def test_a_permuted_vocabulary(llama_like: Path, tmp_path: Path) -> None:
    proto = ModelProto()
    proto.ParseFromString(llama_like.read_bytes())
    order = random.Random(0).sample(range(1000), 1000)
    pieces = [proto.pieces[index] for index in order]
    del proto.pieces[:]
    proto.pieces.extend(pieces)
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    old, new = load_tokenizer("sentencepiece", llama_like), load_tokenizer("sentencepiece", tmp_path)
    assert match(old.tokens(), new.tokens()) == order


def test_byte_level_and_sentencepiece_share_what_has_the_same_bytes(
    llama_like: Path, from_byte_level: Tokenizer
) -> None:
    model = load_tokenizer("sentencepiece", llama_like)
    ids = match(model.tokens(), from_byte_level.tokens())
    old = [index for index in ids if index is not None]
    assert len(set(old)) == len(old)

    def matched(written: str) -> str:
        index = next(index for index in range(from_byte_level.vocab_size) if from_byte_level.token(index) == written)
        found = ids[index]
        assert found is not None
        return model.token(found)

    assert matched("Ġthe") == "\u2581the"
    assert matched("e") == "e"
    assert matched("Ċ") == "<0x0A>"
    assert matched("é") == "<0xE9>"
    assert (matched("<|bos|>"), matched("<|end|>")) == ("<s>", "</s>")
    texts = {token.content for token in model.tokens() if token.kind is Kind.TEXT}
    for token, index in zip(from_byte_level.tokens(), ids, strict=True):
        if token.kind is Kind.TEXT and token.content in texts:
            assert index is not None
            assert model.tokens()[index].content == token.content


def test_control_tokens_by_role_then_by_name(llama_like: Path, train_sentencepiece: Callable[..., Path]) -> None:
    old = load_tokenizer("sentencepiece", llama_like)
    path = train_sentencepiece(
        bos_piece="<begin>", eos_piece="<end>", bos_id=3, eos_id=1, pad_id=2, control_symbols=["<tool>"]
    )
    new = load_tokenizer("sentencepiece", path)
    assert [new.token(index) for index in (0, 1, 2, 3, 4)] == ["<unk>", "<end>", "<pad>", "<begin>", "<tool>"]
    assert match(old.tokens(), new.tokens())[:5] == [0, 2, None, 1, None]
    again = load_tokenizer("sentencepiece", train_sentencepiece(control_symbols=["<pad>", "<tool>"]))
    assert match(new.tokens(), again.tokens())[:5] == [0, 3, 1, 2, 4]


def test_what_spells_a_byte_or_a_control_token_is_text(
    llama_like: Path, train_sentencepiece: Callable[..., Path]
) -> None:
    spelled = ["<0x0A>", "<tool>"]
    new = load_tokenizer("sentencepiece", train_sentencepiece(byte_fallback=False, user_defined_symbols=spelled))
    assert [new.token(index) for index in (3, 4)] == spelled
    assert match(load_tokenizer("sentencepiece", llama_like).tokens(), new.tokens())[3:5] == [None, None]
    control = load_tokenizer("sentencepiece", train_sentencepiece(control_symbols=["<tool>"]))
    assert control.tokens()[3].content == b"<tool>"
    assert match(control.tokens(), new.tokens())[4] is None


def test_equal_tokens_of_one_vocabulary_are_matched_in_order(
    byte_level: RustTokenizer, saved: Callable[..., Tokenizer]
) -> None:
    """GPT-NeoX's has such: its runs of spaces are there once in the byte alphabet and once added."""
    assert byte_level.token_to_id("ĠĠ") is not None
    byte_level.add_tokens(["  "])
    tokens = saved(byte_level, eos_token="<|end|>", pad_token="<|end|>").tokens()
    assert [token.content for token in tokens].count(b"  ") == 2
    assert match(tokens, tokens) == list(range(len(tokens)))


def _word_piece(tokenizer: RustTokenizer) -> RustTokenizer:
    pieces = RustTokenizer(models.WordPiece({"a": 0, "##b": 1}, unk_token="a"))
    pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    return pieces


def _ends_of_words(tokenizer: RustTokenizer) -> RustTokenizer:
    return RustTokenizer(models.BPE({"a</w>": 0}, [], end_of_word_suffix="</w>"))


def _lowercase(tokenizer: RustTokenizer) -> RustTokenizer:
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    return tokenizer


def _undecoded(tokenizer: RustTokenizer) -> RustTokenizer:
    tokenizer.decoder = decoders.CTC()
    return tokenizer


def _unknown_unigram(tokenizer: RustTokenizer) -> RustTokenizer:
    unigram = RustTokenizer(models.Unigram([("\u2581a", -1.0)], 0))
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram.normalizer = normalizers.Replace("a", "b")
    return unigram


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_word_piece, "it is a WordPiece model"),
        (_ends_of_words, "its pieces are marked by their place in a word"),
        (_lowercase, r"its normalizer changes the text \(Lowercase\)"),
        (_undecoded, r"its decoder \(CTC\) is neither byte-level nor SentencePiece's"),
        (_unknown_unigram, r"its normalizer changes the text \(Replace\)"),
    ],
)
def test_kinds_that_cannot_be_compared(
    change: Callable[[RustTokenizer], RustTokenizer],
    reason: str,
    byte_level: RustTokenizer,
    saved: Callable[..., Tokenizer],
) -> None:
    changed = change(byte_level)
    changed.add_special_tokens(["<|end|>"])
    tokenizer = saved(changed, eos_token="<|end|>")
    with pytest.raises(UserError, match=rf"tokenizer\.json: what its tokens stand for .*: {reason}; give a"):
        tokenizer.tokens()


def test_a_unigram_with_sentencepiece_spaces(saved: Callable[..., Tokenizer]) -> None:
    unigram = RustTokenizer(models.Unigram([("\u2581a", -1.0), ("b", -2.0)], 0))
    unigram.pre_tokenizer, unigram.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    unigram.add_special_tokens(["<|end|>"])
    tokens = saved(unigram, eos_token="<|end|>").tokens()
    assert [(token.kind, token.content) for token in tokens] == [
        (Kind.TEXT, b" a"),
        (Kind.TEXT, b"b"),
        (Kind.CONTROL, b"<|end|>"),
    ]


@pytest.mark.parametrize(("rule", "is_known"), [("nmt_nfkc", True), ("nmt_nfkc_cf", False)])
def test_a_sentencepiece_model_that_folds_case(
    rule: str, is_known: bool, train_sentencepiece: Callable[..., Path]
) -> None:
    tokenizer = load_tokenizer("sentencepiece", train_sentencepiece(normalization_rule_name=rule))
    if is_known:
        assert len(tokenizer.tokens()) == 500
        return
    with pytest.raises(UserError, match=rf"it changes the text \({rule}\)"):
        tokenizer.tokens()
