from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest

from custom_modules.config.schema import Config
from custom_modules.data.layout import is_prepared
from custom_modules.data.manifest import load_manifest, read_manifest
from custom_modules.errors import UserError
from data_prep.only import run_step
from data_prep.prepare import run
from tests.support.commands import run_danube
from tests.support.strangers import CONTENT, made, put, snapshot

MakeConfig = Callable[..., Config]
Texts = Callable[..., list[str]]
Write = Callable[[Path, list[str]], Path]

STEPS = "data.steps.gopher_quality={min_doc_words: 12, min_avg_word_length: 1, min_stop_words: 0}"


@pytest.fixture
def text(tmp_path: Path, make_texts: Texts, write_jsonl: Write) -> Path:
    return write_jsonl(tmp_path / "a.jsonl", [*make_texts(60), "too short"])


def refuses(config: Config, message: str) -> None:
    """The command is refused, and nothing in ``data.dir`` is another file than before."""
    before = snapshot(Path(config.data.dir))
    with pytest.raises(UserError, match=message):
        run(config)
    assert snapshot(Path(config.data.dir)) == before


@pytest.mark.slow
def test_a_strangers_file_in_any_place_survives(tmp_path: Path, text: Path, make_config: MakeConfig) -> None:
    def config(name: str) -> Config:
        return make_config(text, STEPS, directory=tmp_path / name)

    run(config("first"))
    run_step(config("first"), "gopher_quality")
    names = made(tmp_path / "first")
    assert {name.partition("/")[0] for name in names} >= {"stage1", "tokenizer", "removed", "only", "manifest.json"}
    others = ["parts/text.jsonl", "tokenizer/notes.txt", "removed/notes.txt"]
    others += ["prepare.work/notes.txt", "only/gopher_quality/notes.txt", "only/gopher_quality.work/notes.txt"]
    kinds = {(name.partition("/")[0], Path(name).suffix): name for name in names}
    for number, name in enumerate([*kinds.values(), *others, "prepare.work/units/0/tokens.bin"]):
        directory = tmp_path / str(number)
        (stranger,) = put(directory, [name])
        before = snapshot(directory)
        try:
            if name.startswith("only"):
                run_step(config(str(number)), "gopher_quality")
            else:
                run(config(str(number)))
        except UserError as error:
            assert snapshot(directory) == before, name
            assert str(directory) in str(error)
        assert stranger.read_bytes() == CONTENT


@pytest.mark.slow
def test_of_a_finished_folder_only_what_was_made_is_replaced(
    tmp_path: Path, text: Path, make_config: MakeConfig
) -> None:
    data = tmp_path / "data"
    run(make_config(text, STEPS))
    folders = {path.parent for path in data.rglob("*") if path.is_file()}
    strangers = put(data, [str((folder / "notes.txt").relative_to(data)) for folder in folders])
    old = set(made(data))
    run(make_config(text, "model.seed=5", "curriculum.stages.stage2.encoder_seq_length=64"))
    assert all(path.read_bytes() == CONTENT for path in strangers)
    assert not (data / "removed/00000.jsonl.zst").exists(), "the earlier manifest names it, the new one does not"
    assert set(made(data)) == old - {"removed/00000.jsonl.zst"}
    (stranger,) = put(data, ["removed/00000.jsonl.zst"])
    refuses(make_config(text, STEPS), r"data/removed is not `danube prepare`'s")
    assert stranger.read_bytes() == CONTENT


@pytest.mark.parametrize("name", ["parts", "tokenizer", "removed"])
def test_input_beside_which_data_would_be_written(
    tmp_path: Path, make_texts: Texts, write_jsonl: Write, make_config: MakeConfig, name: str
) -> None:
    folder = tmp_path / "data" / name
    folder.mkdir(parents=True)
    write_jsonl(folder / "a.jsonl", make_texts(60))
    refuses(make_config(folder), rf"data\.input={folder}: lies in {folder}, where `danube prepare` writes")
    refuses(make_config(write_jsonl(tmp_path / "b.jsonl", make_texts(60))), rf"{folder} is not `danube prepare`'s")


def test_what_is_read_may_not_lie_where_it_is_written(
    tmp_path: Path, text: Path, tokenizer_file: Path, make_config: MakeConfig
) -> None:
    data = tmp_path / "data"
    linked = tmp_path / "linked"
    (data / "stage1").mkdir(parents=True)
    shutil.copy(text, data / "stage1/a.jsonl")
    linked.symlink_to(data / "stage1")
    refuses(make_config(linked), rf"data\.input={linked}: lies in {data}/stage1")
    linked.unlink()
    linked.mkdir()
    (linked / "a.jsonl").symlink_to(data / "stage1/a.jsonl")
    refuses(make_config(linked), rf"data\.input={linked}/a\.jsonl: lies in {data}/stage1")
    (data / "tokenizer").mkdir()
    shutil.copy(tokenizer_file, data / "tokenizer/tokenizer.model")
    refuses(
        make_config(text, f"model.tokenizer.model={data}/tokenizer"), rf"model\.tokenizer\.model={data}/tokenizer: lies"
    )
    benchmark = data / "removed/b.jsonl"
    benchmark.parent.mkdir()
    shutil.copy(text, benchmark)
    refuses(
        make_config(text, f"data.steps.decontaminate.files=[{benchmark}]"),
        rf"data\.steps\.decontaminate\.files={benchmark}: lies in {data}/removed",
    )


def test_an_empty_folder_and_the_working_directory(
    tmp_path: Path, text: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    put(Path(), ["notes.txt", "src/code.py"])
    run(make_config(text, directory=Path()))
    assert load_manifest(make_config(text, directory=Path())).parts("stage1", "train")
    assert all(Path(name).read_bytes() == CONTENT for name in ("notes.txt", "src/code.py"))


@pytest.mark.slow
def test_a_folder_of_the_version_before_is_taken_over(
    tmp_path: Path, text: Path, make_config: MakeConfig, capsys: pytest.CaptureFixture[str]
) -> None:
    """That version wrote no note, and another lock; what else it made was named as it is."""
    data, config = tmp_path / "data", make_config(text, STEPS)
    run(config)
    (data / ".made_by_danube").unlink()
    (data / ".danube.lock").rename(data / ".lock")
    before = orjson.loads((data / "manifest.json").read_bytes())
    del before["options"]["url_key"]
    (data / "manifest.json").write_bytes(orjson.dumps(before))
    capsys.readouterr()
    run(config)
    assert "is up to date" in capsys.readouterr().err
    run(make_config(text, STEPS, "model.seed=3"))
    assert load_manifest(config).options["seed"] == 3

    (data / "manifest.json").unlink()
    (data / ".made_by_danube").unlink()
    (data / "parts/units").mkdir(parents=True)
    refuses(config, rf"an unfinished `danube prepare` of an earlier version left it, rm -r {data}/parts ")
    assert is_prepared(data)


@pytest.mark.slow
def test_a_killed_publication_is_gone_on_with(
    tmp_path: Path, text: Path, make_config: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = tmp_path / "data"
    run(make_config(text, STEPS))
    real, renamed = Path.replace, []

    def replace(self: Path, target: Path) -> Path:
        if self.suffix in (".bin", ".idx"):
            renamed.append(self)
            if len(renamed) == 3:
                raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(KeyboardInterrupt):
        run(make_config(text, STEPS, "model.seed=2"))
    monkeypatch.undo()
    assert read_manifest(data) is None
    run(make_config(text, STEPS, "model.seed=2"))
    run(make_config(text, STEPS, "model.seed=2", directory=tmp_path / "unbroken"))
    assert {name: content for name, content in snapshot(data).items() if "stage" in name} == {
        name: content for name, content in snapshot(tmp_path / "unbroken").items() if "stage" in name
    }


@pytest.mark.slow
def test_a_run_that_uses_the_data_is_named(tmp_path: Path, prepared: Path, tiny: Callable[..., list[str]]) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    assert run_danube(*tiny("run", f"data.dir={data}", "curriculum.stage=stage1")).returncode == 0
    inputs = [f"data.input={prepared.parent / 'text.jsonl'}", "data.workers=1"]
    inputs += [f"model.tokenizer.model={prepared.parent / 'tokenizer.model'}"]
    words = [*tiny("run", f"data.dir={data}")[1:], *inputs]
    same, other = "data.validation_fraction=0.1", "data.validation_fraction=0.2"

    def prepare(*more: str) -> tuple[int, str]:
        done = run_danube("prepare", *words, *more)
        return done.returncode, done.stderr

    code, said = prepare(same)
    assert (code, "is up to date" in said) == (0, True)
    before = snapshot(data)
    code, said = prepare(other)
    assert code == 2
    assert f"{tmp_path / 'run'} was started on the data there" in said
    assert "--replace" in said
    assert snapshot(data) == before

    (data / "manifest.json").unlink()
    code, said = prepare(other)
    assert code == 2, "known by the data that was made"
    assert "was started on the data there" in said
    assert prepare(same)[0] == 0, "the same data again takes nothing from the run"
    assert run_danube(*tiny("run", f"data.dir={data}")).returncode == 0

    code, said = prepare(other, "--replace")
    assert code == 0
    assert f"replacing the data of {tmp_path / 'run'}" in said
    assert prepare(same)[0] == 0, "the run that lost its data has nothing more to lose"


@pytest.mark.slow
def test_a_run_that_is_gone_does_not_count(
    tmp_path: Path, prepared: Path, tiny: Callable[..., list[str]], text: Path, make_config: MakeConfig
) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    for name in ("one", "two"):
        assert run_danube(*tiny(name, f"data.dir={data}", "curriculum.stage=stage1")).returncode == 0
    assert len(list((data / "used_by").iterdir())) == 2
    shutil.rmtree(tmp_path / "one")
    refuses(make_config(text), f"{tmp_path / 'two'} was started")
    shutil.rmtree(tmp_path / "two")
    run(make_config(text))


@pytest.mark.slow
def test_where_the_use_cannot_be_written_down_nothing_fails(
    tmp_path: Path, prepared: Path, tiny: Callable[..., list[str]]
) -> None:
    data = tmp_path / "data"
    shutil.copytree(prepared, data)
    put(data, ["used_by"])
    assert run_danube(*tiny("run", f"data.dir={data}", "curriculum.stage=stage1")).returncode == 0
    assert (data / "used_by").read_bytes() == CONTENT


def test_a_folder_of_prepared_data_is_known_whatever_happened_to_it(
    tmp_path: Path, text: Path, make_config: MakeConfig
) -> None:
    data = tmp_path / "data"
    run(make_config(text))
    assert is_prepared(data)
    (data / ".made_by_danube").unlink()
    assert is_prepared(data)
    (data / "manifest.json").write_bytes((data / "manifest.json").read_bytes()[:200])
    assert is_prepared(data)
    for name in ("manifest.json", "other.json"):
        (tmp_path / "theirs").mkdir(exist_ok=True)
        (tmp_path / "theirs" / name).write_text(json.dumps({"name": "extension", "format": 1}))
        assert not is_prepared(tmp_path / "theirs")
