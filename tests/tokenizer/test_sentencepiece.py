"""A tokenizer.model encodes as SentencePiece does, and so does the tokenizer.json that is made of it."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sentencepiece import SentencePieceProcessor

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, copy_tokenizer, load_tokenizer
from custom_modules.tokenizer.sentencepiece_json import SPACE, ModelProto
from custom_modules.tokenizer.sentencepiece_tokenizer import SentencePieceTokenizer

HOSTILE = [
    *(" ", "  ", "       ", "\n", "\r\n", "\t", "\x00", "\u00a0", "\u200b", "\ufeff", "\u2028", "\u2581", "\ufffd"),
    *("<s>", "</s>", "<unk>", "<0x41>", "<0xFF>", "\u2581the", "<", ">", "/", "s"),
    *(
        "é",
        "e\u0301",
        "\u0301",
        "ﬁ",
        "日本",
        "١٢",
        "👩‍👩‍👧",
        "\U0010ffff",
        "the",
        "The ",
        "import",
        "    return",
        "==",
        "a",
        "0",
    ),
]
texts = st.lists(st.sampled_from(HOSTILE) | st.text(max_size=4), max_size=25).map("".join)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(text=texts)
@example(text="")
@example(text=" " * 300)
@example(text="</s><s> </s>")
def test_json_encodes_and_decodes_as_sentencepiece(llama_like: Path, text: str) -> None:
    tokenizer = _load(llama_like)
    reference = _reference(llama_like)
    ids = reference.encode(text)
    assert tokenizer.encode(text) == ids
    assert tokenizer.encode_batch([text, "x"]) == [ids, reference.encode("x")]
    assert tokenizer.encode_as_exported(text) == ids
    assert tokenizer.decode(ids) == reference.decode(ids) == text.replace("\u2581", " ")
    assert not {0, 1, 2} & set(ids)


@pytest.mark.parametrize("alphabet", ["ab", "abc", "ab ", "a bé"])
def test_overlapping_merges_of_few_letters(train_sentencepiece: Callable[..., Path], alphabet: str) -> None:
    random = Random(0)
    corpus = ["".join(random.choices(alphabet, k=60)) for _ in range(200)]
    tokenizer = load_tokenizer("sentencepiece", train_sentencepiece(300, corpus, split_by_whitespace=False))
    assert tokenizer.not_as_json is None
    for _ in range(2000):
        text = "".join(random.choices(alphabet, k=random.randrange(40)))
        assert tokenizer.encode_as_exported(text) == tokenizer.encode(text)


def test_runs_of_one_score_are_proven(llama_like: Path, tmp_path: Path) -> None:
    """Llama gives all runs of spaces one score; the order of their ids (first, Mistral's) then decides."""
    path = _with_runs(llama_like, tmp_path, [2, 4, 8, 5, 16, 6, 12, 13, 10, 14, 3, 9, 7, 11])
    assert load_tokenizer("sentencepiece", path).not_as_json is None
    path = _with_runs(llama_like, tmp_path, [2, 4, 8, 5])
    assert "score" in (load_tokenizer("sentencepiece", path).not_as_json or "")


def test_without_dummy_prefix(train_sentencepiece: Callable[..., Path]) -> None:
    tokenizer = load_tokenizer("sentencepiece", train_sentencepiece(add_dummy_prefix=False))
    for text in ("the value", " the value", "", "\x00</s>"):
        ids = tokenizer.encode(text)
        assert tokenizer.encode_as_exported(text) == ids
        assert tokenizer.decode(ids) == text


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"model_type": "unigram"}, "not a BPE model"),
        ({"normalization_rule_name": "nmt_nfkc"}, "normalizes"),
        ({"remove_extra_whitespaces": True}, "removes spaces"),
        ({"byte_fallback": False}, "no byte fallback"),
        ({"treat_whitespace_as_suffix": True}, "behind words"),
        ({"user_defined_symbols": ["<|prompt|>"]}, "user-defined"),
    ],
)
def test_other_models_go_through_sentencepiece(
    train_sentencepiece: Callable[..., Path], options: dict[str, object], reason: str
) -> None:
    path = train_sentencepiece(vocab_size=600, **options)
    tokenizer = load_tokenizer("sentencepiece", path)
    assert reason in (tokenizer.not_as_json or "")
    texts = ["  The ﬁrst  value </s> <|prompt|>x ", "", "\n"]
    assert tokenizer.encode_batch(texts) == [_reference(path).encode(text) for text in texts]
    tokenizer.check(texts)


def test_attributes(llama_like: Path, english: list[str]) -> None:
    tokenizer = load_tokenizer("sentencepiece", llama_like.parent)
    assert (tokenizer.library, tokenizer.path, tokenizer.vocab_size) == ("sentencepiece", llama_like, 1000)
    assert (tokenizer.unk_id, tokenizer.bos_id, tokenizer.eos_id) == (0, 1, 2)
    assert [tokenizer.token(index) for index in range(3)] == ["<unk>", "<s>", "</s>"]
    assert tokenizer.sha256 == hashlib.sha256(llama_like.read_bytes()).hexdigest()
    assert tokenizer.decode([1, *tokenizer.encode("a b"), 2]) == "a b"
    tokenizer.check(english)


def test_check_names_the_text(llama_like: Path) -> None:
    class RankedById(SentencePieceTokenizer):
        def to_json(self) -> dict[str, Any]:
            content = super().to_json()
            content["model"]["merges"].reverse()
            return content

    with pytest.raises(UserError, match="begins with 'the function'"):
        RankedById(llama_like).check(["", "the function"])


def test_copy(llama_like: Path, tmp_path: Path) -> None:
    tokenizer = load_tokenizer("sentencepiece", llama_like)
    copy = copy_tokenizer(tokenizer, tmp_path)
    assert copy == tmp_path / "tokenizer.model"
    assert load_tokenizer("sentencepiece", copy).sha256 == tokenizer.sha256


def test_missing_damaged_and_without_eos(tmp_path: Path, train_sentencepiece: Callable[..., Path]) -> None:
    with pytest.raises(UserError, match=r"no tokenizer\.model there"):
        load_tokenizer("sentencepiece", tmp_path)
    path = tmp_path / "other.model"
    for content in (b"", b"{}", b"\x00" * 100):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"other\.model: not a SentencePiece model"):
            load_tokenizer("sentencepiece", path)
    with pytest.raises(UserError, match="no eos piece"):
        load_tokenizer("sentencepiece", train_sentencepiece(eos_id=-1))


def test_a_file_of_another_library_is_named_with_what_works(llama_like: Path, tmp_path: Path) -> None:
    path, content = tmp_path / "tokenizer.model", json.dumps(load_tokenizer("sentencepiece", llama_like).to_json())
    of_same_model = r"; give the tokenizer\.json of the same model, with model\.tokenizer\.library=huggingface$"
    ranks = b"".join(base64.b64encode(bytes([byte])) + b" %d\n" % byte for byte in range(256))
    tekken = json.dumps({"config": {"pattern": "."}, "vocab": [{"rank": 0, "token_bytes": "AA=="}]}).encode()
    for library in ("sentencepiece", "huggingface"):
        for written, message in (
            (ranks, f"tiktoken's list of tokens.*{of_same_model}"),
            (ranks.replace(b"\n", b"\r\n"), f"tiktoken's list of tokens.*{of_same_model}"),
            (tekken, rf"tekken\.json.*{of_same_model}"),
            (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a git-lfs pointer; fetch the file itself"),
        ):
            path.write_bytes(written)
            with pytest.raises(UserError, match=message):
                load_tokenizer(library, path)
    path.write_text(content)
    with pytest.raises(UserError, match=r"it is a tokenizer\.json; set model\.tokenizer\.library=huggingface"):
        load_tokenizer("sentencepiece", path)
    with pytest.raises(UserError, match=r"a SentencePiece model; set model\.tokenizer\.library=sentencepiece"):
        load_tokenizer("huggingface", llama_like)


@cache
def _load(path: Path) -> Tokenizer:
    return load_tokenizer("sentencepiece", path)


@cache
def _reference(path: Path) -> SentencePieceProcessor:
    return SentencePieceProcessor(model_file=str(path))


def _with_runs(source: Path, folder: Path, lengths: list[int]) -> Path:
    """Give the model runs of spaces of these lengths, in this order, all with one score below any other."""
    proto = ModelProto.FromString(source.read_bytes())
    for piece in proto.pieces:
        if set(piece.piece) == {SPACE} and len(piece.piece) > 1:
            piece.piece = "q" * (40 + len(piece.piece))
    for length in lengths:
        proto.pieces.add(piece=SPACE * length, score=-1e9)
    path = folder / "runs.model"
    path.write_bytes(proto.SerializeToString())
    return path
