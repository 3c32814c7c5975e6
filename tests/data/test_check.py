"""Every fault, planted in a copy of prepared data, is found, and nothing is found where there is none."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
import shutil
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custom_modules.data import check, index_cache
from custom_modules.data.check import check_data
from custom_modules.data.index import open_index
from custom_modules.errors import UserError

TRAIN = "stage1/text_train"
INDEX_START = 34


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "data")


@pytest.fixture
def plain(data: Path) -> Path:
    """Megatron's files alone."""
    (data / "manifest.json").unlink()
    shutil.rmtree(data / "tokenizer")
    return data


def lines(directory: Path, **options: Any) -> list[str]:
    found = [str(problem) for problem in check_data(directory, **options)]
    assert not any("\n" in line for line in found)
    return found


def overwrite(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def edit_manifest(data: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = data / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    path.write_text(json.dumps(manifest, indent=2))


def declare(data: Path) -> None:
    """Let the manifest agree with the files' sizes and hashes, so that a later check has to notice."""

    def change(manifest: dict[str, Any]) -> None:
        part = manifest["stages"]["stage1"]["train"][0]
        for kind in ("bin", "idx"):
            content = (data / f"{TRAIN}.{kind}").read_bytes()
            part["bytes"][kind], part["sha256"][kind] = len(content), hashlib.sha256(content).hexdigest()

    edit_manifest(data, change)


def write_dataset(prefix: Path, documents: Sequence[Sequence[int]], boundaries: Sequence[int] | None = None) -> None:
    """A uint16 dataset; ``boundaries`` are the sequences that documents begin with, each its own by default."""
    prefix.parent.mkdir(parents=True, exist_ok=True)
    lengths = np.array([len(ids) for ids in documents], "<i4")
    starts = np.array(range(len(documents) + 1) if boundaries is None else boundaries, "<i8")
    header = b"MMIDIDX\x00\x00" + struct.pack("<QBQQ", 1, 8, len(lengths), len(starts))
    pointers = (np.cumsum(lengths) - lengths).astype("<i8") * 2
    prefix.with_suffix(".idx").write_bytes(header + lengths.tobytes() + pointers.tobytes() + starts.tobytes())
    prefix.with_suffix(".bin").write_bytes(np.array([token for ids in documents for token in ids], "<u2").tobytes())


def test_sound_data_has_no_problem(data: Path) -> None:
    read: list[int] = []
    assert lines(data, advance=read.append) == lines(data, quick=True) == []
    assert sum(read) == sum(path.stat().st_size for path in data.rglob("*.bin"))


def test_sound_data_has_none_in_small_blocks(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "BLOCK", 1000)
    monkeypatch.setattr(check, "ENTRIES", 10)
    assert lines(data) == lines(data, quick=True) == []


def test_sound_data_without_a_manifest(plain: Path) -> None:
    assert lines(plain) == lines(plain, vocab_size=512, eos_id=2) == []


def cut(data: Path) -> None:
    path = data / f"{TRAIN}.bin"
    path.write_bytes(path.read_bytes()[:-10])


def lengthen(data: Path) -> None:
    path = data / f"{TRAIN}.bin"
    path.write_bytes(path.read_bytes() + bytes(10))


def cut_index(data: Path) -> None:
    path = data / f"{TRAIN}.idx"
    path.write_bytes(path.read_bytes()[:-8])


def alter(data: Path) -> None:
    """Another id of the vocabulary in the middle of a document."""
    path = data / f"{TRAIN}.bin"
    overwrite(path, 4, bytes([path.read_bytes()[4] ^ 8]))


def exchange_index(data: Path) -> None:
    shutil.copy(data / "stage2/text_train.idx", data / f"{TRAIN}.idx")


def empty_dataset(data: Path) -> None:
    write_dataset(data / TRAIN, [])


def end_otherwise(data: Path) -> None:
    path = data / f"{TRAIN}.bin"
    index = open_index(data / f"{TRAIN}.idx")
    for document in (5, 100, index.documents - 1):
        overwrite(path, 2 * int(index.boundaries(document, document + 1)[1]) - 2, b"\x07\x00")


def go_beyond(data: Path) -> None:
    for token in (1, 20_000):
        overwrite(data / f"{TRAIN}.bin", 2 * token, np.uint16(60_000).tobytes())


def move_pointer(data: Path) -> None:
    count = open_index(data / f"{TRAIN}.idx").documents
    overwrite(data / f"{TRAIN}.idx", INDEX_START + 4 * count + 8 * 7, np.int64(10**9).tobytes())


def span_wrongly(data: Path) -> None:
    path = data / f"{TRAIN}.idx"
    overwrite(path, path.stat().st_size - 8, np.int64(3).tobytes())


def give_dtype(code: int) -> Callable[[Path], None]:
    return lambda data: overwrite(data / f"{TRAIN}.idx", 17, bytes([code]))


SEEN_WITHOUT_HASHES = [
    (cut, "idx", r"ends at byte \d+ of text_train.bin, which should have \d+"),
    (lengthen, "idx", r"ends at byte \d+ of text_train.bin, which should have \d+"),
    (cut_index, "idx", r"\d+ bytes, but its \d+ sequences and \d+ document ends take \d+"),
    (exchange_index, "idx", r"ends at byte \d+ of text_train.bin, which should have \d+"),
    (empty_dataset, "idx", "no tokens, so training would wait"),
    (end_otherwise, "bin", r"3 documents do not end in EOD \(2\), the first is 5, which ends in 7"),
    (go_beyond, "bin", "2 token ids beyond the vocabulary of 512, the first is 60000 in document 0, token 1 of the"),
    (move_pointer, "idx", r"sequence 7, of \d+ tokens, begins at byte 1000000000 instead of \d+"),
    (span_wrongly, "idx", r"its documents do not span its \d+ sequences"),
    (give_dtype(4), "idx", "(dtype code 4, int32, but the manifest says uint16|sequence 1, .* has a wrong dtype)"),
    (give_dtype(7), "idx", "dtype code 7"),
]
Plant = Callable[[Path], None]


@pytest.mark.parametrize("with_manifest", [True, False])
@pytest.mark.parametrize(("plant", "kind", "message"), SEEN_WITHOUT_HASHES)
def test_a_fault_that_no_hash_shows(data: Path, with_manifest: bool, plant: Plant, kind: str, message: str) -> None:
    plant(data)
    if with_manifest:
        declare(data)
    else:
        (data / "manifest.json").unlink()
        shutil.rmtree(data / "tokenizer")
    for quick in (False, True):
        found = lines(data, quick=quick, vocab_size=512, eos_id=2)
        assert any(re.match(re.escape(f"{data / TRAIN}.{kind}: ") + message, line) for line in found), found
        assert all(line.startswith(f"{data / TRAIN}.") for line in found), found


@pytest.mark.parametrize(
    ("plant", "kind", "message"),
    [
        (cut, "bin", r"\d+ bytes, but the manifest says \d+; delete it and run `danube prepare` again"),
        (lengthen, "bin", r"\d+ bytes, but the manifest says \d+"),
        (cut_index, "idx", r"\d+ bytes, but the manifest says \d+"),
        (alter, "bin", r"altered: its SHA-256 is \w{64}, but the manifest says \w{64}"),
    ],
)
def test_a_file_that_is_not_the_manifests(data: Path, plant: Plant, kind: str, message: str) -> None:
    plant(data)
    (line,) = lines(data)
    assert re.match(re.escape(f"{data / TRAIN}.{kind}: ") + message, line)


def test_a_fault_is_found_at_every_edge_of_a_block(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = open_index(data / f"{TRAIN}.idx")
    end = 2 * int(index.boundaries(30, 31)[1])
    overwrite(data / f"{TRAIN}.bin", end - 2, b"\x07\x00")
    overwrite(data / f"{TRAIN}.bin", end, np.uint16(600).tobytes())
    for block in (end - 2, end, end + 2):
        monkeypatch.setattr(check, "BLOCK", block)
        beyond, unended, altered = lines(data)
        assert f"1 token ids beyond the vocabulary of 512, the first is 600 in document 31, token {end // 2}" in beyond
        assert "1 documents do not end in EOD (2), the first is 30, which ends in 7" in unended
        assert "altered" in altered


def test_all_faults_are_told(data: Path) -> None:
    for plant in (end_otherwise, go_beyond):
        plant(data)
    (data / "stage2/text_train.bin").unlink()
    (data / "stage2/text_validation.idx").write_bytes(b"x" * 262)
    (data / "stage1/old.bin").write_bytes(b"x")
    overwrite(data / "tokenizer/tokenizer.model", 3000, b"x")
    edit_manifest(data, lambda manifest: manifest["stages"]["stage1"]["validation"].clear())
    found = "\n".join(lines(data))
    for part in (
        "tokenizer.model: sha256",
        "manifest.json: stage1 has no validation tokens",
        "text_train.bin: 2 token ids beyond",
        "text_train.bin: 3 documents do not end",
        "text_train.bin: altered",
        "stage2/text_train.bin: missing",
        "text_validation.idx: begins with b'xxxxxxxxx', so it is not a Megatron index",
        "text_validation.idx: altered",
        "stage1/old.bin: not named by the manifest",
        "stage1/text_validation.bin: not named by the manifest",
    ):
        assert part in found


def test_empty_documents(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", [[5, 2], [], [6, 2]])
    write_dataset(tmp_path / "b", [[5, 2], [6, 2]], boundaries=[0, 1, 1, 1, 2])
    first, second = lines(tmp_path, vocab_size=512, eos_id=2)
    assert first.startswith(f"{tmp_path / 'a.idx'}: 1 of 3 documents are empty, the first is 1; make or copy it again")
    assert second.startswith(f"{tmp_path / 'b.idx'}: 2 of 4 documents are empty, the first is 1;")


def test_a_document_of_several_sequences_ends_once(tmp_path: Path) -> None:
    write_dataset(tmp_path / "sentences", [[5, 6], [7, 2], [8], [9, 2]], boundaries=[0, 2, 4])
    assert lines(tmp_path, eos_id=2) == []


def test_a_dtype_too_small_for_the_vocabulary(plain: Path) -> None:
    found = lines(plain, vocab_size=70_000)
    assert len(found) == 4
    assert all("dtype uint16 cannot hold a vocabulary of 70000" in line for line in found)


def test_negative_ids(tmp_path: Path) -> None:
    write_dataset(tmp_path / "a", [[5, 65_535, 2]])
    overwrite(tmp_path / "a.idx", 17, b"\x03")
    (line,) = lines(tmp_path)
    assert "1 token ids below 0, the first is -1 in document 0, token 1" in line


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "missing, so `danube prepare` did not finish here"),
        (b"{", "not a manifest of prepared data (content: "),
        (b'{"format": 2, "options": {}}', "format: Input should be 1; tokenizer: Field required; stages: Field requ"),
    ],
)
def test_without_a_usable_manifest_the_rest_is_still_checked(data: Path, content: bytes | None, message: str) -> None:
    (data / "manifest.json").unlink()
    if content is not None:
        (data / "manifest.json").write_bytes(content)
    go_beyond(data)
    told, beyond = lines(data)
    assert told.startswith(f"{data / 'manifest.json'}: ")
    assert message in told
    assert "beyond the vocabulary of 512" in beyond


def test_what_an_unfinished_prepare_left(data: Path) -> None:
    (data / "prepare.work/units").mkdir(parents=True)
    (data / "prepare.work/units/1.bin").write_bytes(b"x")
    (line,) = lines(data)
    assert line.startswith(f"{data / 'prepare.work'}: left by an unfinished `danube prepare`")


def test_folders_without_data(tmp_path: Path) -> None:
    assert "no .bin and .idx files in it" in lines(tmp_path)[0]
    with pytest.raises(UserError, match="nowhere: no such folder"):
        check_data(tmp_path / "nowhere")


def described(content: bytes) -> list[int]:
    """The bytes of a manifest that say something of the data or its tokenizer, not of where it came from."""
    spans = re.finditer(
        rb'"(?:library|file|sha256|vocab_size|eos_id|prefix|documents|tokens|dtype|bin|idx)": [^{\n,]+', content
    )
    sources = re.search(rb'"sources": \[.*?\n  \]', content, re.DOTALL)
    assert sources
    return [i for span in spans if not sources.start() <= span.start() < sources.end() for i in range(*span.span())]


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_any_changed_byte_is_found(data: Path, choice: st.DataObject) -> None:
    paths = (path for path in data.rglob("*") if data / "used_by" not in path.parents)
    files = sorted(path for path in paths if path.suffix in (".bin", ".idx", ".model", ".json"))
    path = choice.draw(st.sampled_from(files))
    content = path.read_bytes()
    offset = choice.draw(
        st.sampled_from(described(content)) if path.suffix == ".json" else st.integers(0, len(content) - 1)
    )
    overwrite(path, offset, bytes([content[offset] ^ choice.draw(st.integers(1, 255))]))
    try:
        assert lines(data)
    finally:
        path.write_bytes(content)


def write_cache(folder: Path, prefix: Path, dataset_path: str, seq_length: int, epochs: int = 1) -> Path:
    """An index cache as megatron-core's GPTDataset writes it, its samples by megatron-core's own compiled builder."""
    megatron = importlib.util.find_spec("megatron")
    assert megatron and megatron.submodule_search_locations
    (library,) = (
        path
        for root in megatron.submodule_search_locations
        for path in Path(root).glob("core/datasets/helpers_cpp*.so")
    )
    spec = importlib.util.spec_from_file_location("helpers_cpp", library)
    assert spec and spec.loader
    helpers = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(helpers)
    index = open_index(prefix.with_suffix(".idx"))
    order = np.tile(np.arange(index.documents, dtype=np.int32), epochs)
    np.random.default_rng(0).shuffle(order)
    samples = helpers.build_sample_idx_int32(np.array(index.lengths), order, seq_length, epochs, index.tokens, True, 1)
    made = {
        "class": "GPTDataset",
        "dataset_path": dataset_path,
        "num_samples": None,
        "index_split": "train",
        "random_seed": 1,
        "sequence_length": seq_length,
        "split": "1,0,0",
        "split_matrix": [[0, 1.0], None, None],
    }
    folder.mkdir(parents=True)
    stem = folder / "0123-GPTDataset-train-"
    Path(f"{stem}description.txt").write_text(json.dumps(made, indent=4))
    np.save(f"{stem}document_index.npy", order)
    np.save(f"{stem}sample_index.npy", samples)
    np.save(f"{stem}shuffle_index.npy", np.arange(len(samples) - 1, dtype=np.uint32))
    return Path(f"{stem}description.txt")


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Path:
    write_cache(tmp_path / "run/index_cache/a", data / TRAIN, f"/elsewhere/{TRAIN}", 32)
    write_cache(tmp_path / "run/index_cache/b", data / TRAIN, TRAIN, 7, epochs=3)
    return tmp_path / "run"


@pytest.mark.parametrize("entries", [1 << 20, 9])
def test_a_cache_of_this_data_is_no_problem(
    data: Path, run: Path, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "ENTRIES", entries)
    write_cache(data / TRAIN / "cache/GPTDataset_indices", data / TRAIN, str(data / TRAIN), 16)
    assert lines(data, runs=[run]) == []


def exchange_lengths(data: Path) -> None:
    index = open_index(data / f"{TRAIN}.idx")
    tokens = np.fromfile(data / f"{TRAIN}.bin", "<u2")
    documents = np.split(tokens, index.boundaries(0, index.documents)[1:-1])
    write_dataset(data / TRAIN, [ids.tolist() for ids in documents[::-1]])


def append_document(data: Path) -> None:
    index = open_index(data / f"{TRAIN}.idx")
    documents = np.split(np.fromfile(data / f"{TRAIN}.bin", "<u2"), index.boundaries(0, index.documents)[1:-1])
    write_dataset(data / TRAIN, [*(ids.tolist() for ids in documents), [5, 2]])


@pytest.mark.parametrize("entries", [1 << 20, 9])
@pytest.mark.parametrize("plant", [exchange_lengths, append_document])
def test_a_cache_of_other_data(
    plain: Path, run: Path, plant: Plant, entries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(index_cache, "ENTRIES", entries)
    plant(plain)
    found = lines(plain, runs=[run])
    assert len(found) == 2
    assert all(f"an index cache of other data than {plain / TRAIN}.idx is now" in line for line in found)


def test_caches_that_megatron_would_stumble_over(data: Path, run: Path) -> None:
    write_cache(run / "index_cache/c", data / TRAIN, "/elsewhere/stage9/text_train", 32)
    write_cache(run / "index_cache/.d.partial", data / TRAIN, "/left/by/a/killed/run", 32)
    samples = next((run / "index_cache/a").glob("*sample_index.npy"))
    samples.write_bytes(samples.read_bytes()[:-100])
    shuffle = next((run / "index_cache/b").glob("*shuffle_index.npy"))
    np.save(shuffle, np.load(shuffle)[:-1])
    cut_short, misordered, foreign = lines(data, runs=[run])
    assert "a damaged index cache (" in cut_short
    assert re.search(r"a damaged index cache: it orders \d+ samples, but there are \d+", misordered)
    assert "an index cache of /elsewhere/stage9/text_train, which is none of these datasets" in foreign
