from __future__ import annotations

import gzip
import json
import os
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
import sentencepiece
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from custom_modules.config.schema import Config
from custom_modules.data.manifest import load_manifest
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.folder_lock import folder_lock
from custom_modules.tokenizer import load_tokenizer
from data_prep.prepare import run

MakeConfig = Callable[..., Config]
Texts = Callable[..., list[str]]
Write = Callable[[Path, list[str]], Path]
ReadBytes = Callable[[Path], dict[str, bytes]]
Read = Callable[[Path], dict[tuple[str, str], list[list[int]]]]


@pytest.mark.slow
def test_every_format_gives_the_same_bytes(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write, dataset_bytes: ReadBytes
) -> None:
    texts = make_texts(60)
    lines = write_jsonl(tmp_path / "a.jsonl", texts)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines.read_bytes()))
    (tmp_path / "a.jsonl.zst").write_bytes(pyarrow.Codec("zstd").compress(lines.read_bytes(), asbytes=True))
    parquet.write_table(pyarrow.table({"text": texts}), tmp_path / "a.parquet", row_group_size=7)
    for number, text in enumerate(texts):
        (tmp_path / "folder" / str(number // 10)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "folder" / str(number // 10) / f"{number % 10}.txt").write_bytes(text.encode())
    results = []
    for name in ("a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.parquet", "folder"):
        directory = tmp_path / f"data-{name}"
        run(make_config(tmp_path / name, directory=directory))
        results.append(dataset_bytes(directory))
    assert len(results[0]) == 8
    assert all(result == results[0] for result in results[1:])


def test_megatron_reads_what_sentencepiece_encodes_and_no_text_is_in_two_places(
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    read_dataset: Read,
    tokenizer_file: Path,
) -> None:
    texts = make_texts(150)
    inputs = [write_jsonl(tmp_path / "a.jsonl", texts + texts[:40]), write_jsonl(tmp_path / "b.jsonl", texts[20:60])]
    config = make_config(inputs)
    run(config)
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    documents = read_dataset(tmp_path / "data")
    assert set(documents) == {(stage, split) for stage in ("stage1", "stage2") for split in ("train", "validation")}
    assert all(ids[-1] == model.eos_id() for dataset in documents.values() for ids in dataset)
    decoded = {place: Counter(model.decode(ids[:-1]) for ids in dataset) for place, dataset in documents.items()}
    assert sum(decoded.values(), Counter()) == Counter(texts + texts[:40] + texts[20:60])
    assert sum(len(set(dataset)) for dataset in decoded.values()) == len(set(texts))
    expected = sorted([*model.encode(text), model.eos_id()] for text in texts + texts[:40] + texts[20:60])
    assert sorted(ids for dataset in documents.values() for ids in dataset) == expected

    manifest = load_manifest(config)
    for stage, split in documents:
        (part,) = manifest.parts(stage, "train" if split == "train" else "validation")
        verify_part(part, config.model.vocab_size, manifest.eos_id, sampled_documents=1000)
        assert part.documents == len(documents[stage, split])
        assert part.tokens == sum(map(len, documents[stage, split]))
        assert part.sha256 == {"bin": sha256_of(part.bin), "idx": sha256_of(part.idx)}
    assert sha256_of(manifest.tokenizer_file) == sha256_of(tokenizer_file) == manifest.tokenizer_sha256
    sources = json.loads(manifest.path.read_text())["sources"]
    assert [(source["documents"], source["skipped"]) for source in sources] == [(190, 0), (40, 0)]
    assert [source["sha256"] for source in sources] == [sha256_of(path) for path in inputs]


@pytest.mark.slow
def test_workers_and_the_cut_into_units_change_nothing(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write, dataset_bytes: ReadBytes
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(700, words=200))
    assert path.stat().st_size > 750_000
    for name, *overrides in (
        ("one", "data.workers=1"),
        ("two", "data.workers=2"),
        ("small", "data.workers=2", "data.shard_bytes=100000"),
    ):
        run(make_config(path, *overrides, directory=tmp_path / name))
    assert dataset_bytes(tmp_path / "one") == dataset_bytes(tmp_path / "two") == dataset_bytes(tmp_path / "small")


def test_bad_records_are_skipped_named_and_counted(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = make_texts(1_500, words=100)
    path = write_jsonl(tmp_path / "a.jsonl", texts)
    with path.open("ab") as file:
        file.write(b'{"title": "x"}\n{"text": " \\n"}\n{"text": "\xff"}\n')
    empty = tmp_path / "empty.jsonl"
    empty.touch()
    config = make_config([path, empty], "data.shard_bytes=100000")
    run(config)
    expected = [
        f"{path}:1501: no key 'text'",
        f"{path}:1502: the text is empty",
        f"{path}:1503: invalid UTF-8 at byte 10 of the line",
        f"{empty}:1: the file is empty",
    ]
    lines = capsys.readouterr().err.splitlines()
    start = lines.index("skipped 4 records:")
    assert [line.strip() for line in lines[start + 1 : start + 5]] == expected
    manifest = json.loads((tmp_path / "data" / "manifest.json").read_text())
    assert manifest["skipped"] == {"records": 4, "first": expected}
    assert [(source["documents"], source["skipped"]) for source in manifest["sources"]] == [(1500, 3), (0, 1)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "content", "line", "reason"),
    [
        ("a.jsonl", b'{"text": "x"}\n' * 150_000 + b'{"title": "y"}\n', 150_001, "no key 'text'"),
        ("a.jsonl", b'{"text": "x"}\n{"text": "\xff"}\n', 2, "invalid UTF-8"),
        ("a.txt", b"", 1, "the file is empty"),
    ],
)
def test_bad_records_are_fatal_if_asked(
    tmp_path: Path, make_config: MakeConfig, name: str, content: bytes, line: int, reason: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name}:{line}: {reason}.*data\.on_error=skip$"):
        run(make_config(tmp_path / name, "data.on_error=raise"))
    assert not (tmp_path / "data" / "manifest.json").exists()


@pytest.mark.slow
def test_the_second_time_nothing_is_done_unless_something_changed(
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    dataset_bytes: ReadBytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    texts = make_texts(100)
    path, data = write_jsonl(tmp_path / "a.jsonl", texts), tmp_path / "data"

    def prepare(*overrides: str) -> bool:
        """Whether it was done again."""
        before = (data / "manifest.json").stat().st_mtime_ns if data.exists() else 0
        run(make_config(path, *overrides))
        done = (data / "manifest.json").stat().st_mtime_ns != before
        message = capsys.readouterr().err
        assert done or message == f"{data} is up to date with 1 source file\n"
        assert not (data / "prepare.work").exists()
        return done

    assert prepare()
    first = dataset_bytes(data)
    assert not prepare()
    assert not prepare("data.shard_bytes=1000", "data.workers=2")
    os.utime(path, (1, 1))
    assert not prepare()

    assert prepare("model.seed=1")
    assert dataset_bytes(data) != first
    assert prepare()
    assert dataset_bytes(data) == first
    assert prepare("+curriculum.stages.extra={tokens: 1000000, encoder_seq_length: 128}")
    assert {name.split("/")[0] for name in dataset_bytes(data)} == {"stage1", "stage2", "extra"}
    assert prepare()
    assert dataset_bytes(data) == first, "a stage that is gone leaves its files behind"

    with (data / "stage1" / "text_train.bin").open("ab") as file:
        file.truncate(100)
    assert prepare()
    assert dataset_bytes(data) == first
    with (data / "stage1" / "text_train.idx").open("r+b") as index:
        index.seek(100)
        index.write(b"\xff" * 8)
    assert prepare(), "an index of the same size whose pointers are wrong"
    assert dataset_bytes(data) == first
    write_jsonl(path, texts[::-1])
    assert prepare()
    assert dataset_bytes(data) != first


@pytest.mark.slow
def test_a_huggingface_tokenizer_brings_the_file_that_names_its_eos(
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    dataset_bytes: ReadBytes,
    tokenizer_file: Path,
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    run(make_config(path, directory=tmp_path / "sentencepiece"))
    folder = tmp_path / "tokenizer"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(load_tokenizer("sentencepiece", tokenizer_file).to_json()))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "</s>"}')
    overrides = ("model.tokenizer.library=huggingface", f"model.tokenizer.model={folder}")
    manifest = run(make_config(path, *overrides))
    assert manifest.tokenizer_file == tmp_path / "data" / "tokenizer" / "tokenizer.json"
    assert load_tokenizer("huggingface", manifest.tokenizer_file).eos_id == manifest.eos_id == 2
    assert dataset_bytes(tmp_path / "data") == dataset_bytes(tmp_path / "sentencepiece")


@pytest.mark.slow
def test_the_tokenizer_that_was_left_is_used_again(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write
) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    with pytest.raises(UserError, match=r"model\.tokenizer\.model=null: there is no tokenizer in"):
        run(make_config(path, "model.tokenizer.model=null"))
    first = run(make_config(path))
    second = run(make_config(write_jsonl(path, make_texts(60, seed=2)), "model.tokenizer.model=null"))
    assert first.tokenizer == second.tokenizer
    assert second.tokenizer_file.is_file()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "mistake", "message"),
    [
        (30, ["data.input=null"], r"data\.input=null: no text to prepare"),
        (30, ["model.vocab_size=500"], r"model\.vocab_size=500: the tokenizer .* has 512 tokens"),
        (30, ["model.vocab_size=600"], r"model\.vocab_size=600: the tokenizer .* has 512 tokens"),
        (30, ["data.text_key=body"], r"data\.input=.*: no document in it; .*a\.jsonl:1: no key 'body'"),
        (1, [], r"data\.validation_fraction=0\.3: stage1 gets no \w+ document out of 1"),
        (30, ["+curriculum.stages.raw={tokens: 1000, encoder_seq_length: 128}"], r"curriculum\.stages\.raw: "),
    ],
)
def test_mistakes_are_named_and_spoil_nothing(
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    dataset_bytes: ReadBytes,
    count: int,
    mistake: list[str],
    message: str,
) -> None:
    config = make_config(write_jsonl(tmp_path / "good.jsonl", make_texts(60)))
    run(config)
    before = dataset_bytes(tmp_path / "data")
    with pytest.raises(UserError, match=rf"^{message}[^\n]*$"):
        run(make_config(write_jsonl(tmp_path / "a.jsonl", make_texts(count, seed=3)), *mistake))
    assert dataset_bytes(tmp_path / "data") == before
    assert load_manifest(config).parts("stage1", "train")


@pytest.mark.slow
def test_a_folder_that_was_published_in_part_does_not_look_finished(
    tmp_path: Path,
    make_config: MakeConfig,
    make_texts: Texts,
    write_jsonl: Write,
    dataset_bytes: ReadBytes,
    capsys: pytest.CaptureFixture[str],
) -> None:
    data = tmp_path / "data"
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    run(make_config(path, directory=tmp_path / "unbroken"))
    run(make_config(path, "model.seed=1"))
    obstacle = data / "stage2" / "text_train.bin"
    obstacle.unlink()
    (obstacle / "x").mkdir(parents=True)
    with pytest.raises(UserError, match=r"^/.*text_train\.bin: .*put that right"):
        run(make_config(path))
    with pytest.raises(UserError, match="nothing is prepared there"):
        load_manifest(make_config(path))

    shutil.rmtree(obstacle)
    capsys.readouterr()
    run(make_config(path))
    assert "finished by an earlier run: 1 of 1 unit\n" in capsys.readouterr().err
    assert dataset_bytes(data) == dataset_bytes(tmp_path / "unbroken")


def test_a_second_prepare_on_the_same_folder_is_refused(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write
) -> None:
    config = make_config(write_jsonl(tmp_path / "a.jsonl", make_texts(60)))
    (tmp_path / "data").mkdir()
    with (
        folder_lock(tmp_path / "data", "data.dir"),
        pytest.raises(UserError, match=rf"data\.dir: .* is in use by process {os.getpid()} on "),
    ):
        run(config)
    run(config)


@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(codec="utf-8"), min_size=1), min_size=40, max_size=60, unique=True))
@pytest.mark.slow
def test_any_unicode_text_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
    make_config: MakeConfig,
    write_jsonl: Write,
    read_dataset: Read,
    tokenizer_file: Path,
    texts: list[str],
) -> None:
    folder = tmp_path_factory.mktemp("unicode")
    padded = [f"{text} {number}" for number, text in enumerate(texts)]
    run(make_config(write_jsonl(folder / "a.jsonl", padded), directory=folder / "data"))
    model = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_file))
    documents = [ids for dataset in read_dataset(folder / "data").values() for ids in dataset]
    assert sorted(model.decode(ids) for ids in documents) == sorted(padded)
