"""Other tokenizers' tokens in the student's, by their bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer as RustTokenizer
from tokenizers import models

from custom_modules.errors import UserError
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from data_prep.teach.alignment import align
from data_prep.teach.vocabulary import NOWHERE, ByteVocabulary, byte_vocabulary, map_tokens
from tests.support.teachers import write_byte_level, write_sentencepiece
from tests.support.tokenizers import ENGLISH

HOSTILE = ["", " ", "a", " a", "\n\n x", "naïve café", "你好, мир", "🧑‍🚀!", "a\u2581b", "tab\tand  two", "<s></s>"]


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tokenizer]:
    folder = tmp_path_factory.mktemp("tokenizers")
    return {
        "bytes": load_tokenizer("huggingface", write_byte_level(folder / "bytes")),
        "pieces": load_tokenizer("sentencepiece", write_sentencepiece(folder / "pieces", vocab_size=600)),
        "fewer pieces": load_tokenizer("sentencepiece", write_sentencepiece(folder / "fewer", vocab_size=420)),
    }


PAIRS = [("bytes", "pieces"), ("pieces", "bytes"), ("pieces", "fewer pieces"), ("fewer pieces", "pieces")]


@pytest.mark.parametrize(("teacher", "student"), [*PAIRS, ("bytes", "bytes"), ("pieces", "pieces")])
def test_a_token_is_mapped_by_its_bytes(teacher: str, student: str, tokenizers: dict[str, Tokenizer]) -> None:
    theirs, own = ByteVocabulary(tokenizers[teacher]), ByteVocabulary(tokenizers[student])
    mapping = map_tokens(theirs, own).tolist()
    there = set(own.contents) - {b""}
    for index, (content, found) in enumerate(zip(theirs.contents, mapping, strict=True)):
        if index == theirs.tokenizer.eos_id:
            assert found == own.tokenizer.eos_id
        elif not content:
            assert found == NOWHERE
        elif content in there:
            assert own.contents[found] == content
        else:
            assert found != NOWHERE and content.startswith(own.contents[found]) and own.contents[found] != b""
    if teacher == student:
        texts = [index for index, content in enumerate(theirs.contents) if content]
        assert all(own.contents[mapping[index]] == theirs.contents[index] for index in texts)


@pytest.mark.parametrize(("teacher", "student"), PAIRS)
def test_what_the_student_lacks_is_the_token_that_it_reads_there(
    teacher: str, student: str, tokenizers: dict[str, Tokenizer]
) -> None:
    """Wherever a teacher's whole word stands in a text between words, the mapped token is the student's own there."""
    theirs, own = ByteVocabulary(tokenizers[teacher]), ByteVocabulary(tokenizers[student])
    mapping = map_tokens(theirs, own)
    words = [content for content in theirs.contents if content[:1] == b" " and content[1:].isalpha()]
    assert len(words) > 10
    for content in words:
        text = f"in{content.decode()} ."
        ids = own.tokenizer.encode(text)
        begins = own.begins(ids, text.encode())
        assert begins is not None
        behind = [index for index, begin in zip(ids, begins.tolist(), strict=False) if begin == 2]
        assert mapping[theirs.contents.index(content)] == behind[-1], content


@pytest.mark.parametrize(("teacher", "student"), [*PAIRS, ("bytes", "bytes")])
def test_a_document_is_aligned_where_tokens_begin_together(
    teacher: str, student: str, tokenizers: dict[str, Tokenizer]
) -> None:
    import numpy as np

    theirs, own = ByteVocabulary(tokenizers[teacher]), ByteVocabulary(tokenizers[student])
    together = positions = 0
    for text in [*HOSTILE, *(text[:800] for text in ENGLISH[:5])]:
        tokens = np.array([*own.tokenizer.encode(text), own.tokenizer.eos_id])
        aligned = align(tokens, own, theirs)
        if not text:
            assert aligned is None
            continue
        if "\u2581" in text and theirs.tokenizer.library == "sentencepiece":
            assert aligned is None or own.tokenizer.library == "sentencepiece", "it reads a space there"
            continue
        assert aligned is not None, text
        text = own.tokenizer.decode(tokens[:-1].tolist())  # of which SentencePiece takes U+2581 for a space
        raw, ids = text.encode(), aligned.ids.tolist()
        assert ids == theirs.tokenizer.encode(text)
        for row, prediction in zip(aligned.rows.tolist(), aligned.predictions.tolist(), strict=True):
            before = b"".join(own.contents[index] for index in tokens[: row + 1])
            read = b"".join(theirs.contents[index] for index in ids[:prediction])
            assert before.lstrip(b" ") == read.lstrip(b" ") and raw.endswith(raw[len(raw) - len(before) :] or b"")
            assert len(before) - len(read) in (-1, 0, 1)
        assert aligned.rows[-1] == len(tokens) - 2 and aligned.predictions[-1] == len(ids)
        together, positions = together + len(aligned.rows), positions + len(tokens) - 1
    assert together / positions > (0.99 if teacher == student else 0.4)


def test_a_document_that_does_not_end_is_passed_over(tokenizers: dict[str, Tokenizer]) -> None:
    import numpy as np

    own = ByteVocabulary(tokenizers["bytes"])
    assert align(np.array(own.tokenizer.encode("no end")), own, own) is None
    assert align(np.array([own.tokenizer.eos_id]), own, own) is None


def test_tokens_of_which_nobody_knows_the_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "tokenizer.json"
    tokenizer = RustTokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(["[SEP]"])
    tokenizer.save(str(path))
    (tmp_path / "tokenizer_config.json").write_text('{"eos_token": "[SEP]"}')
    with pytest.raises(UserError, match=r"^TEACHER: its tokens cannot be mapped by their bytes: .*WordPiece"):
        byte_vocabulary(load_tokenizer("huggingface", path), "TEACHER")
