"""Prepared data that is not what its manifest says: one line that names the file, before anything is trained."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from custom_modules.config.load import load_config
from custom_modules.data.manifest import Part, load_manifest, read_manifest
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from data_prep.output.manifest import find_manifest
from tests.support.tiny import TINY

INDEX_START = 34


@pytest.fixture
def data(prepared: Path, tmp_path: Path) -> Path:
    shutil.copytree(prepared, tmp_path / "data")
    return tmp_path / "data"


def part_of(data: Path) -> Part:
    return load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={data}"])).parts("stage1", "train")[0]


def check(data: Path) -> str:
    with pytest.raises(UserError) as caught:
        verify_part(part_of(data), 512, 2)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def overwrite(file: Path, offset: int, content: bytes) -> None:
    with file.open("r+b") as stream:
        stream.seek(offset)
        stream.write(content)


def declare_size(data: Path, kind: str) -> None:
    """Let the manifest agree with a file's new size, so that a later check has to notice."""
    path = data / "manifest.json"
    manifest = json.loads(path.read_text())
    part = manifest["stages"]["stage1"]["train"][0]
    part["bytes"][kind] = (data / f"{part['prefix']}.{kind}").stat().st_size
    path.write_text(json.dumps(manifest))


def test_what_prepare_wrote_is_sound(prepared: Path) -> None:
    verify_part(part_of(prepared), 512, 2, sampled_documents=10_000)


def test_what_is_read_is_written_again_byte_for_byte(data: Path) -> None:
    manifest = read_manifest(data)
    assert manifest is not None
    before = manifest.path.read_bytes()
    manifest.path.unlink()
    manifest.write()
    assert manifest.path.read_bytes() == before
    assert read_manifest(data) == manifest
    assert {data / name: size for name, size in manifest.files().items()} == {
        path: path.stat().st_size for path in data.glob("stage*/*")
    }


def test_a_truncated_bin(data: Path) -> None:
    file = part_of(data).bin
    file.write_bytes(file.read_bytes()[:-10])
    assert check(data).startswith(f"{file}: ")
    declare_size(data, "bin")
    assert f"points to byte {file.stat().st_size + 10}" in check(data)


def test_an_index_that_points_outside_its_bin(data: Path) -> None:
    part = part_of(data)
    overwrite(part.idx, INDEX_START + 4 * part.documents + 8, np.int64(10**9).tobytes())
    assert check(data).startswith(f"{part.idx}: its pointers do not describe {part.bin.name}")


def test_a_truncated_index(data: Path) -> None:
    file = part_of(data).idx
    file.write_bytes(file.read_bytes()[:-8])
    declare_size(data, "idx")
    assert check(data).startswith(f"{file}: ")


def test_a_wrong_dtype_code(data: Path) -> None:
    file = part_of(data).idx
    overwrite(file, 17, bytes([4]))
    assert check(data).startswith(f"{file}: dtype int32, but the manifest says uint16")


def test_ids_beyond_the_vocabulary(data: Path) -> None:
    file = part_of(data).bin
    overwrite(file, 0, np.uint16(60000).tobytes())
    assert check(data).startswith(f"{file}: document 0 has token id 60000, beyond model.vocab_size=512")


def test_a_document_without_its_end(data: Path) -> None:
    part = part_of(data)
    overwrite(part.bin, part.bytes["bin"] - 2, np.uint16(5).tobytes())
    assert "does not end in the end token 2" in check(data)


def test_a_missing_file(data: Path) -> None:
    file = part_of(data).bin
    file.unlink()
    assert check(data).startswith(f"{file}: missing")


def test_something_else_in_place_of_an_index(data: Path) -> None:
    file = part_of(data).idx
    file.write_bytes(b"x" * file.stat().st_size)
    assert check(data).startswith(f"{file}: begins with b'xxxxxxxxx', so it is not a Megatron index; run `danube")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "nothing is prepared there"), ("{", "not a manifest"), ('{"format": 1}', "not a manifest")],
)
def test_manifests_that_cannot_be_used(data: Path, content: str | None, message: str) -> None:
    path = data / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_text(content)
    with pytest.raises(UserError, match=message):
        part_of(data)


def test_a_manifest_that_the_system_refuses_to_read_is_no_reason_to_prepare_again(data: Path) -> None:
    path = data / "manifest.json"
    path.unlink()
    path.mkdir()
    for read in (part_of, lambda folder: find_manifest(folder)):
        with pytest.raises(UserError) as raised:
            read(data)
        assert str(raised.value) == f"{path}: cannot be read (Is a directory); put that right and run it again"


def test_another_vocabulary(prepared: Path) -> None:
    with pytest.raises(UserError, match=r"model\.vocab_size=640: .* a vocabulary of 512"):
        load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", "model.vocab_size=640"]))


def test_pretrain_stops_in_one_line_before_it_trains(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], data: Path, tmp_path: Path
) -> None:
    file = part_of(data).bin
    file.write_bytes(file.read_bytes()[:-10])
    stopped = danube(*tiny("run", f"data.dir={data}", "trainer.devices=2"))
    assert stopped.returncode == 2
    assert stopped.stderr.startswith(f"danube: {file}: ")
    assert stopped.stderr.count("\n") == 1
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_damage_that_only_one_process_meets_is_said_by_it(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], data: Path
) -> None:
    """One id beyond the vocabulary, in a document that the check at the start does not sample."""
    part = part_of(data)
    sampled = set(np.linspace(0, part.documents - 1, 64, dtype=np.int64).tolist())
    document = next(number for number in range(part.documents) if number not in sampled)
    pointers = np.fromfile(part.idx, dtype="<i8", count=part.documents, offset=INDEX_START + 4 * part.documents)
    overwrite(part.bin, int(pointers[document]), np.uint16(60000).tobytes())
    whole = part.tokens // 512 * 512 - 512
    stage1 = f"curriculum.stages.stage1={{tokens: {whole}, encoder_seq_length: 32}}"
    stopped = danube(*tiny("run", f"data.dir={data}", "trainer.devices=2", stage1))
    assert stopped.returncode == 2
    told = [
        line for line in stopped.stderr.splitlines() if line.startswith("danube: stage1: token id 60000 in samples ")
    ]
    assert len(told) == 1
    assert "Traceback" not in stopped.stderr


def test_a_stage_that_was_not_prepared(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]]
) -> None:
    stage3 = "curriculum.stages.stage3={tokens: 3000, encoder_seq_length: 128}"
    stopped = danube(*tiny("run", stage3, "trainer.devices=1"))
    assert stopped.returncode == 2
    assert "no train data for stage3; run `danube prepare`" in stopped.stderr
    assert stopped.stderr.count("\n") == 1
