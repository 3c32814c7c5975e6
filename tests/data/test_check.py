"""Every fault that megatron-core does not notice is found, by file, and a whole folder has none."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custom_modules.data.check import check_data
from custom_modules.data.inspect import open_index
from tests.conftest import VOCAB_SIZE

BIN, IDX = "stage1/text_train.bin", "stage1/text_train.idx"
HEADER = 34


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    return shutil.copytree(prepared, tmp_path / "data")


def problems(data: Path, **options: object) -> list[str]:
    return [str(problem).removeprefix(f"{data}/") for problem in check_data(data, **options)]  # type: ignore[arg-type]


def patch(path: Path, offset: int, content: bytes) -> None:
    with path.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def truncate(path: Path, by: int) -> None:
    with path.open("r+b") as stream:
        stream.truncate(path.stat().st_size - by)


def test_whole_data_has_no_problem(data: Path) -> None:
    assert problems(data) == []
    assert problems(data, quick=True) == []


def end_of(data: Path, document: int) -> int:
    index = open_index(data / IDX)
    return int(index.boundaries(document, document + 1)[1] - 1) * 2


FAULTS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "a .bin cut short": (lambda data: truncate(data / BIN, 10), BIN, "bytes, but the manifest says"),
    "a .bin too long": (lambda data: (data / BIN).open("ab").write(b"\0\0"), BIN, "bytes, but the manifest says"),
    "an .idx cut short": (lambda data: truncate(data / IDX, 8), IDX, "document ends take"),
    "a .bin that is gone": (lambda data: (data / BIN).unlink(), BIN, "missing; "),
    "an .idx that is gone": (lambda data: (data / IDX).unlink(), IDX, "missing; "),
    "an id beyond the vocabulary": (
        lambda data: patch(data / BIN, 20, np.uint16(VOCAB_SIZE + 7).tobytes()),
        BIN,
        f"1 token id(s) beyond the vocabulary of {VOCAB_SIZE}; the first, {VOCAB_SIZE + 7}, is token 10, in document 0",
    ),
    "a document without its end": (
        lambda data: patch(data / BIN, end_of(data, 5), np.uint16(9).tobytes()),
        BIN,
        "1 document(s) do not end in the end token 2; the first is document 5",
    ),
    "an altered token": (lambda data: patch(data / BIN, 30, np.uint16(9).tobytes()), BIN, "SHA-256 "),
    "another dtype code": (
        lambda data: patch(data / IDX, 17, b"\x04"),
        IDX,
        "dtype int32, but the manifest says uint16",
    ),
    "no dtype at all": (lambda data: patch(data / IDX, 17, b"\x63"), IDX, "dtype code 99 is none of"),
    "the index of another file": (
        lambda data: shutil.copy(data / "stage2/text_train.idx", data / IDX),
        IDX,
        "bytes, but the .bin has",
    ),
    "an empty document": (
        lambda data: patch(
            data / IDX, HEADER + 12 * len(open_index(data / IDX).lengths) + 8 * 4, np.int64(3).tobytes()
        ),
        IDX,
        "1 empty document(s), the first is document 3",
    ),
    "no manifest": (
        lambda data: (data / "manifest.json").unlink(),
        "manifest.json",
        "missing, so `danube prepare` did not",
    ),
    "a damaged manifest": (lambda data: truncate(data / "manifest.json", 9), "manifest.json", "not a manifest"),
    "a foreign file": (
        lambda data: (data / "stage1/x.bin").write_bytes(b"1"),
        "stage1/x.bin",
        "not named by the manifest",
    ),
    "a damaged tokenizer": (
        lambda data: (data / "tokenizer/tokenizer.model").open("ab").write(b"\x0a\x00"),
        "tokenizer/tokenizer.model",
        "the tokenizer cannot be used",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_found(fault: str, data: Path) -> None:
    plant, file, message = FAULTS[fault]
    plant(data)
    found = [problem for problem in problems(data) if problem.startswith(f"{file}: ")]
    assert any(message in problem for problem in found), problems(data)
    assert all("\n" not in problem for problem in found)


def test_a_split_without_tokens(data: Path) -> None:
    path = data / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["stages"]["stage2"]["validation"] = []
    path.write_text(json.dumps(manifest))
    assert "manifest.json: stage2 has no validation tokens; add text and run `danube prepare` again" in problems(data)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.floats(0, 1, exclude_max=True), kind=st.sampled_from([BIN, IDX]), bit=st.integers(0, 7))
def test_any_flipped_bit_is_found(data: Path, place: float, kind: str, bit: int) -> None:
    path = data / kind
    whole = path.read_bytes()
    at = int(place * len(whole))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ (1 << bit)]) + whole[at + 1 :])
    try:
        assert any(problem.startswith(f"{kind}: ") for problem in problems(data))
    finally:
        path.write_bytes(whole)


def test_data_of_another_tool(data: Path, tmp_path: Path) -> None:
    """Plain .bin and .idx: no hashes, and ids only where the vocabulary is given."""
    plain = tmp_path / "plain"
    plain.mkdir()
    for name in (BIN, IDX):
        shutil.copy(data / name, plain / Path(name).name)
    patch(plain / "text_train.bin", 20, np.uint16(VOCAB_SIZE).tobytes())
    assert problems(plain) == []
    (found,) = problems(plain, vocab_size=VOCAB_SIZE, eos_id=2)
    assert "1 token id(s) beyond the vocabulary" in found


def test_a_stale_cache(
    data: Path, danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    done = danube(*tiny("run", f"data.dir={data}", "trainer.devices=1", "curriculum.stage=stage1"))
    assert done.returncode == 0, done.stderr
    whole = danube("check-data", str(data), "--run", str(tmp_path / "run"))
    assert (whole.returncode, whole.stdout) == (0, f"{data}: no problem found\n")
    for suffix in ("bin", "idx"):
        shutil.copy(data / f"stage2/text_train.{suffix}", data / f"stage1/text_train.{suffix}")
    (data / "manifest.json").unlink()
    shutil.rmtree(data / "tokenizer")
    stale = danube("check-data", str(data), "--run", str(tmp_path / "run"))
    assert stale.returncode == 2
    assert "description.txt: made for " in stale.stdout
    assert stale.stderr.startswith(f"danube: {data}: ")
