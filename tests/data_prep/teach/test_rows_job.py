"""A teacher's rows beside prepared data: the same bits whoever makes them and whatever comes between."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from custom_modules.data.check import check_data
from custom_modules.data.index import open_index
from custom_modules.data.manifest import load_manifest
from custom_modules.distillation.rows import open_rows
from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.files import sha256_of
from custom_modules.training.signals import StopRequest
from data_prep.prepare import run as prepare
from data_prep.teach.command import TeachOptions, teach
from data_prep.teach.job import run
from data_prep.teach.parts import distilled_parts, students_tokenizer
from data_prep.teach.rows import RowsJob
from data_prep.teach.score import ModelScores
from data_prep.teach.teacher import open_teacher
from tests.support.distilled import config_of, parts_of
from tests.support.teachers import write_byte_level, write_llama

SHARD = 700


class Killed(Exception):
    """In the middle of the work."""


def do(data: Path, model: Path, rank: int = 0, size: int = 1, batches: int | None = None, k: int = 4) -> None:
    """Do what process ``rank`` of ``size`` does, until it has begun so many batches."""
    config = config_of(data)
    manifest = load_manifest(config)
    student = students_tokenizer(manifest)
    scores = ModelScores(open_teacher(model), student, None, k, torch.device("cpu"))
    job = RowsJob(config, "llama", scores, k, SHARD)
    begun = 0

    def between() -> None:
        nonlocal begun
        if begun == batches:
            raise Killed
        begun += 1

    run(job, distilled_parts(manifest), rank, size, between)


def rows_of(data: Path) -> dict[str, bytes]:
    return {str(path.relative_to(data)): path.read_bytes() for path in sorted(data.rglob("*.rows*"))}


@pytest.fixture(scope="session")
def undisturbed(prepared: Path, llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    shutil.copytree(prepared, folder / "data")
    shutil.copy(prepared.parent / "tokenizer.model", folder)
    do(folder / "data", llama)
    return folder / "data"


def test_rows_are_found_where_the_tokens_are(undisturbed: Path, llama: Path) -> None:
    manifest = load_manifest(config_of(undisturbed))
    parts = distilled_parts(manifest)
    assert {part.stage for part in parts} == {"stage1", "stage2"}
    for part in parts:
        index = open_index(part.part.idx)
        rows = open_rows(part.part.prefix, "llama", part.data, index.pointers, index.dtype.itemsize)
        assert rows.note.share > 0.9
        said = 0
        for document, length in enumerate(index.lengths.tolist()):
            ids, probabilities = rows.rows(document, 0, length)
            assert ids.shape == probabilities.shape == (length, 4)
            assert not probabilities[-1].any() and probabilities[:-1].any()
            assert (probabilities.sum(axis=1) <= 1 + 1e-6).all()
            assert ids.max() < 512
            said += int(probabilities.any(axis=1).sum())
        assert said == rows.note.covered
    assert not (undisturbed / "teach.work").exists()


def test_the_manifest_names_the_rows_with_their_hashes(undisturbed: Path) -> None:
    for part in parts_of(undisturbed):
        for suffix in ("llama.rows", "llama.rows.json"):
            path = undisturbed / f"{part['prefix']}.{suffix}"
            assert part["bytes"][suffix] == path.stat().st_size  # type: ignore[index]
            assert part["sha256"][suffix] == sha256_of(path)  # type: ignore[index]
    assert list(check_data(undisturbed)) == []


def test_three_processes_that_are_killed_and_go_on_as_two_make_the_same_bits(
    data: Path, llama: Path, undisturbed: Path
) -> None:
    for rank, batches in ((2, 1), (0, 2), (1, 0), (1, 3)):
        with pytest.raises(Killed):
            do(data, llama, rank, 3, batches)
    assert not rows_of(data).keys() & rows_of(undisturbed).keys()
    do(data, llama, 1, 2)
    do(data, llama, 0, 2)
    do(data, llama, 1, 2)
    assert rows_of(data) == rows_of(undisturbed)
    assert not (data / "teach.work").exists()
    before = (data / "manifest.json").stat().st_mtime_ns
    do(data, llama)
    assert (data / "manifest.json").stat().st_mtime_ns == before, "nothing is done again"


def test_killed_between_the_last_shard_and_the_manifest(
    data: Path, llama: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each file that is put in place on the way."""
    import custom_modules.files

    whole = custom_modules.files.whole_stream
    for moment in ("text_distilled.llama.rows.json", ".made_by_danube", "manifest.json", "data_card.md"):

        def killed(path: Path, moment: str = moment) -> object:
            if path.name == moment and path.parent != data / "teach.work":
                raise Killed
            return whole(path)

        with monkeypatch.context() as patched:
            patched.setattr(custom_modules.files, "whole_stream", killed)
            patched.setattr("data_prep.output.card.whole_files", lambda files, moment=moment: _card(files, moment))
            with pytest.raises(Killed):
                do(data, llama)
    do(data, llama)
    assert rows_of(data) == rows_of(undisturbed)
    assert list(check_data(data)) == []


def _card(files: object, moment: str) -> None:
    if moment == "data_card.md":
        raise Killed


def test_another_model_does_not_go_on_where_one_began(data: Path, llama: Path, tmp_path: Path) -> None:
    with pytest.raises(Killed):
        do(data, llama, batches=1)
    other = write_llama(write_byte_level(tmp_path / "other"), 448, seed=5)
    with pytest.raises(UserError, match=r"teach.work/llama/stage1.text_distilled: begun with model=.*delete that"):
        do(data, other)
    with pytest.raises(UserError, match=r"begun with distillation.top_k=4, and here it is 3"):
        do(data, llama, k=3)


@pytest.mark.slow
def test_another_model_takes_the_place_of_rows_that_are_there(data: Path, llama: Path, tmp_path: Path) -> None:
    do(data, llama)
    before = rows_of(data)
    do(data, write_llama(write_byte_level(tmp_path / "other"), 448, seed=5))
    assert rows_of(data).keys() == before.keys() and rows_of(data) != before
    assert list(check_data(data)) == []


def command(data: Path, options: TeachOptions, *overrides: str) -> int:
    return teach(config_of(data, "trainer.devices=1", *overrides), options, (), StopRequest())


def test_the_command(data: Path, llama: Path, undisturbed: Path) -> None:
    assert command(data, TeachOptions("llama", llama, shard_tokens=SHARD)) == 0
    assert rows_of(data) == rows_of(undisturbed)
    with pytest.raises(UserError, match=r"^--teacher gpt: not among distillation.teachers \(llama, api\)"):
        command(data, TeachOptions("gpt", llama))
    with pytest.raises(UserError, match="no MODEL"):
        command(data, TeachOptions("llama"))


def test_a_stop_leaves_whole_shards(data: Path, llama: Path) -> None:
    stop = StopRequest()
    stop.received = 15
    with pytest.raises(StoppedBySignal, match="SIGTERM: stopped; the same command goes on"):
        teach(config_of(data, "trainer.devices=1"), TeachOptions("llama", llama), (), stop)


def test_data_of_which_nothing_is_distilled_is_refused(data: Path, llama: Path) -> None:
    plain = json.loads((data / "manifest.json").read_bytes())
    for splits in plain["stages"].values():
        splits["train"] = [part for part in splits["train"] if part.get("stream") != "distilled"]
    (data / "manifest.json").write_text(json.dumps(plain))
    with pytest.raises(UserError, match=r"manifest.json: none of the data is distilled; set distillation.every_n"):
        command(data, TeachOptions("llama", llama))


def prepare_again(data: Path, text: Path, *overrides: str, replace: bool = False) -> None:
    given = [f"data.input={text}", "data.validation_fraction=0.1", "data.workers=1"]
    prepare(config_of(data, *given, *overrides), replace)


@pytest.mark.slow
def test_preparing_again_does_not_lose_what_a_teacher_said(data: Path, llama: Path, prepared: Path) -> None:
    text = prepared.parent / "text.jsonl"
    do(data, llama)
    before, named = rows_of(data), parts_of(data)
    prepare_again(data, text)
    assert rows_of(data) == before and parts_of(data) == named, "up to date"
    (data / "stage2" / "text_train.bin").unlink()
    prepare_again(data, text)
    assert rows_of(data) == before and parts_of(data) == named, "the same data again"
    (data / "manifest.json").unlink()
    prepare_again(data, text)
    assert rows_of(data) == before and parts_of(data) == named, "as after a kill"
    next(data.rglob("*.rows")).unlink()
    prepare_again(data, text)
    assert sum("missing" in str(problem) for problem in check_data(data)) == 1, "not prepared again for that"
    with pytest.raises(UserError, match=r"text_distilled.llama.rows.* is a teacher's, beside data that would be"):
        prepare_again(data, text, "model.seed=77")
    assert list(data.rglob("*.rows"))
    prepare_again(data, text, "model.seed=77", replace=True)
    assert not rows_of(data) and list(check_data(data)) == []


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("stage1/text_distilled.llama.rows", lambda content: content[:-3], "bytes, but the manifest says"),
        ("stage1/text_distilled.llama.rows", None, "missing; copy it again, or run `danube teach` again"),
        ("stage1/text_distilled.llama.rows", lambda content: content[:-9] + b"\x01" + content[-8:], "altered: its SHA"),
        ("stage1/text_distilled.llama.rows", lambda content: content[:48] + b"\xff" * 12 + content[60:], "above 1"),
        ("stage2/text_distilled.llama.rows.json", lambda content: b"x" * len(content), "Invalid JSON"),
        (
            "stage2/text_distilled.llama.rows.json",
            lambda content: content.replace(b'"llama"', b'"other"'),
            "those of other",
        ),
    ],
)
def test_check_data_names_damaged_rows(
    name: str, change: object, message: str, undisturbed: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(undisturbed, folder)
    path = folder / name
    content = path.read_bytes()
    path.unlink() if change is None else path.write_bytes(change(content))  # type: ignore[operator]
    problems = [str(problem) for problem in check_data(folder)]
    assert any(line.startswith(f"{folder}/{name.removesuffix('.json')}") and message in line for line in problems), (
        problems
    )
