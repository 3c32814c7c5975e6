"""`danube prune-tokenizer`: what it makes, what it says of it, and what it refuses."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Sequence
from itertools import chain
from pathlib import Path

import orjson
import pytest
from transformers import AutoTokenizer

from custom_modules.cli import main
from custom_modules.config.schema import Config
from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.byte_bpe import find_parents
from custom_modules.tokenizer.fast import hostile_texts, why_not_fast
from data_prep.prepare import run
from data_prep.vocabulary.count_words import is_held_out
from data_prep.vocabulary.prune_tokenizer import PruneOptions, prune_tokenizer
from data_prep.vocabulary.words import stretches
from tests.data_prep.vocabulary.conftest import Pruned, Vocabulary
from tests.support.tiktoken_files import cl100k_content, cl100k_tokens, encoding_of, hard_texts
from tests.support.tokenizers import ENGLISH


def kept_tokens(pruned: Pruned) -> list[bytes]:
    return [token.content for token in load_tokenizer("huggingface", pruned.folder).tokens()[:-1]]


def test_it_keeps_the_bytes_the_order_and_the_end_of_text(pruned: Pruned, vocabulary: Vocabulary) -> None:
    tokenizer, kept = load_tokenizer("huggingface", pruned.folder), kept_tokens(pruned)
    assert tokenizer.vocab_size == 600 and tokenizer.eos_id == 599
    assert tokenizer.control_tokens() == {599: "<|endoftext|>"}
    ranks = [vocabulary.tokens.index(token) for token in kept]
    assert ranks == sorted(set(ranks)) and {bytes([byte]) for byte in range(256)} <= set(kept)
    assert ranks[-1] > 1000, "not simply the first"
    assert [path.name for path in sorted(pruned.folder.iterdir())] == [
        ".made_by_danube",
        "pruning.json",
        "tokenizer.json",
        "tokenizer_config.json",
    ]
    assert list(pruned.folder.parent.iterdir()) == [pruned.folder], "nothing is left of the work"


def test_every_kept_token_is_made_by_merges(pruned: Pruned) -> None:
    content = orjson.loads((pruned.folder / "tokenizer.json").read_bytes())
    assert content["model"]["type"] == "BPE" and not content["model"]["ignore_merges"]
    tokenizer = load_tokenizer("huggingface", pruned.folder)
    reached = 0
    for rank, token in enumerate(kept_tokens(pruned)):
        text = token.decode(errors="ignore")
        if text.encode() == token:
            assert tokenizer.encode(text) == [rank]
            reached += 1
    assert reached > 400


@pytest.mark.slow
def test_training_and_both_libraries_give_the_same_ids(
    pruned: Pruned,
    documents: list[str],
    tmp_path: Path,
    text_folder: Path,
    make_config: Callable[..., Config],
    read_dataset: Callable[[Path], dict[tuple[str, str], list[list[int]]]],
    capsys: pytest.CaptureFixture[str],
) -> None:
    ours, theirs = load_tokenizer("huggingface", pruned.folder), AutoTokenizer.from_pretrained(pruned.folder)
    assert why_not_fast(ours, documents) is None
    for text in [*documents, *hard_texts(kept_tokens(pruned)), *hostile_texts(ours)]:
        ids = theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        assert ids == ours.encode(text)
        assert theirs.decode(ids) == ours.decode(ids) == text
    tokenizer = (f"model.tokenizer.model={pruned.folder}", "model.tokenizer.library=huggingface")
    run(make_config(text_folder, *tokenizer, "model.vocab_size=600"))
    assert "encoding with huggingface itself" not in capsys.readouterr().err, "the fast encoder reads it"
    found = sorted(chain.from_iterable(read_dataset(tmp_path / "data").values()))
    assert found == sorted([*theirs(text)["input_ids"], 599] for text in documents)


def bytes_a_token(texts: Sequence[str], encode: Callable[[str], list[int]]) -> float:
    return sum(len(text.encode()) for text in texts) / sum(len(encode(text)) for text in texts)


def test_the_figures_are_those_of_the_text_that_is_held_out(
    pruned: Pruned, documents: list[str], vocabulary: Vocabulary
) -> None:
    """Three vocabularies on the same text: whole, cut off by rank, and pruned."""
    pieces = [stretch for text in documents for stretch in stretches(text)]
    held_out = [stretch for stretch in pieces if is_held_out(stretch)]
    text = pruned.report.text
    assert text.documents == len(documents)
    assert text.held_out_bytes == sum(len(stretch.encode()) for stretch in held_out) > 10_000
    assert text.counted_bytes + text.held_out_bytes == sum(len(text.encode()) for text in documents)
    whole, first, result = pruned.report.figures
    assert (whole.vocabulary, whole.size) == ("mine.tiktoken", 1501) and first.size == result.size == 600
    tiktoken_whole, tiktoken_first = encoding_of(vocabulary.tokens), encoding_of(vocabulary.tokens[:599])
    assert whole.bytes_a_token == pytest.approx(bytes_a_token(held_out, tiktoken_whole.encode_ordinary))
    assert first.bytes_a_token == pytest.approx(bytes_a_token(held_out, tiktoken_first.encode_ordinary))
    own = load_tokenizer("huggingface", pruned.folder)
    assert result.bytes_a_token == pytest.approx(bytes_a_token(held_out, own.encode))
    assert whole.bytes_a_token and first.bytes_a_token and result.bytes_a_token
    assert first.bytes_a_token < result.bytes_a_token < whole.bytes_a_token
    written = orjson.loads((pruned.folder / "pruning.json").read_bytes())
    assert written == orjson.loads(pruned.report.as_json())
    printed = pruned.report.as_text()
    assert f"{result.bytes_a_token:.3f}" in printed and f"{text.distinct_words:,} are distinct" in printed


@pytest.fixture
def arguments(vocabulary: Vocabulary, text_folder: Path, tmp_path: Path) -> Callable[..., list[str]]:
    def build(*more: str, size: str = "600", on: Sequence[str | Path] = (text_folder,)) -> list[str]:
        texts = ["--on", *map(str, on)] if on else []
        command = ["prune-tokenizer", str(vocabulary.file), str(tmp_path / "out")]
        return [*command, "--vocab-size", size, "--any", "--workers", "1", *more, *texts]

    return build


def test_without_a_size_it_has_all_tokens(vocabulary: Vocabulary, tmp_path: Path) -> None:
    assert main(["prune-tokenizer", str(vocabulary.file), str(tmp_path / "out"), "--any"]) == 0
    tokenizer, encoding = load_tokenizer("huggingface", tmp_path / "out"), encoding_of(vocabulary.tokens)
    assert tokenizer.vocab_size == 1501
    assert all(tokenizer.encode(text) == encoding.encode_ordinary(text) for text in ENGLISH)


@pytest.mark.slow
def test_json_is_what_is_written(
    arguments: Callable[..., list[str]], pruned: Pruned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments("--json")) == 0
    assert orjson.loads(capsys.readouterr().out) == orjson.loads((tmp_path / "out" / "pruning.json").read_bytes())
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (pruned.folder / "tokenizer.json").read_bytes()


@pytest.mark.parametrize(
    ("size", "on", "says"),
    [
        (
            "256",
            None,
            "--vocab-size 256: smaller than the 256 bytes and <|endoftext|>, which always stay; give at least 257",
        ),
        ("-1", None, "--vocab-size -1: smaller than the 256 bytes"),
        ("1502", None, "has 1,500 tokens and <|endoftext|>; give at most that many"),
        ("600", [], "--vocab-size 600: nothing to choose the tokens by; give text with --on, files or folders"),
        ("600", ["nothing.jsonl"], "--on nothing.jsonl: no such file or folder"),
        ("600", ["README.md"], "--on README.md: unknown format; "),
    ],
)
def test_what_it_cannot_do_is_refused_in_one_line(
    arguments: Callable[..., list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    size: str,
    on: list[str] | None,
    says: str,
) -> None:
    assert main(arguments(size=size) if on is None else arguments(size=size, on=on)) == 2
    message = capsys.readouterr().err.strip()
    assert says in message and "\n" not in message
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_there_is_left_alone(
    arguments: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    assert main(arguments()) == 2
    assert "out: already there; give another folder, or remove it first" in capsys.readouterr().err
    (tmp_path / "out").rmdir()
    (tmp_path / "out.work").mkdir()
    (tmp_path / "out.work" / "mine").write_text("mine")
    assert main(arguments()) == 2
    assert "out.work: not made by `danube prune-tokenizer`" in capsys.readouterr().err
    assert [path.name for path in tmp_path.rglob("*")] == ["out.work", "mine"]


@pytest.mark.slow
def test_damaged_files_are_named_and_what_can_be_read_is_counted_where_that_is_wanted(
    arguments: Callable[..., list[str]], text_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (text_folder / "b.jsonl.gz").read_bytes()
    (tmp_path / "cut.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "rows.jsonl").write_text('{"text": 5}\n{"text": "a text that can be read"}\n')
    on = [text_folder, tmp_path / "cut.jsonl.gz", tmp_path / "rows.jsonl"]
    assert main(arguments(on=on)) == 2
    message = capsys.readouterr().err.splitlines()[-1]
    assert "--on-damaged-file=fail: 1 file cannot be read" in message and "cut.jsonl.gz" in message
    assert "data." not in message.replace(str(tmp_path), "")
    assert not (tmp_path / "out").exists()
    assert main(arguments("--on-damaged-file", "skip", on=on)) == 0
    said = capsys.readouterr()
    assert "cut.jsonl.gz" in said.err and "rows.jsonl:1: 'text' is int, not a string" in said.err
    assert not (tmp_path / "out.work").exists()


@pytest.mark.slow
def test_another_field_of_the_records(
    arguments: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = b"".join(orjson.dumps({"content": text}) + b"\n" for text in ENGLISH)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    assert main(arguments("--text-key", "content", on=[tmp_path / "a.jsonl.gz"])) == 0
    assert f"of {len(ENGLISH)} documents" in capsys.readouterr().out
    assert main(["prune-tokenizer", *arguments(on=[tmp_path / "a.jsonl.gz"])[1:]]) == 2


def test_too_little_text_to_hold_any_out_is_said(
    arguments: Callable[..., list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = next(f"text {number}" for number in range(100) if not is_held_out(f"text {number}"))
    (tmp_path / "a.txt").write_text(text)
    assert main(arguments(on=[tmp_path / "a.txt"])) == 0
    printed = capsys.readouterr().out
    assert "held out  nothing: there is too little text" in printed and printed.splitlines()[-1].split()[-1] == "-"


@pytest.mark.slow
def test_cl100k_base_keeps_what_a_text_needs(tmp_path: Path, text_folder: Path, documents: list[str]) -> None:
    file = tmp_path / "cl100k_base.tiktoken"
    file.write_bytes(cl100k_content())
    report = prune_tokenizer(file, tmp_path / "out", PruneOptions(32_000, (str(text_folder),), workers=2))
    assert report is not None
    whole, first, result = (figure.bytes_a_token or 0 for figure in report.figures)
    assert first < result <= whole
    tokenizer, tokens = load_tokenizer("huggingface", tmp_path / "out"), cl100k_tokens()
    kept = [token.content for token in tokenizer.tokens()[:-1]]
    left = set(kept)
    assert len(left) == 31_999 and kept == [token for token in tokens if token in left]
    assert find_parents(kept).count(None) == 256, "merges make every token that is kept"
    theirs = AutoTokenizer.from_pretrained(tmp_path / "out")
    assert why_not_fast(tokenizer, documents) is None
    for text in [*documents, *hostile_texts(tokenizer)]:
        ids = tokenizer.encode(text)
        assert theirs(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] == ids
        assert tokenizer.decode(ids) == text
