"""A fastText model that is cut short or damaged ends the command with one line, before any work."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from benchmarks.fasttext_model import WORDS, train_fasttext
from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from data_prep.input.documents import Document, Removal
from data_prep.steps.fasttext_file import expected_bytes

pytest.importorskip("fasttext")
pytest.importorskip("datatrove")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small model of two languages, plain and quantized."""
    folder = tmp_path_factory.mktemp("fasttext")
    model = train_fasttext(folder)
    model.save_model(str(folder / "lid.bin"))
    model.quantize(input=str(folder / "text"), retrain=False, qnorm=True, verbose=0)
    model.save_model(str(folder / "lid.ftz"))
    return {name: folder / f"lid.{name}" for name in ("bin", "ftz")}


@pytest.mark.parametrize("kind", ["bin", "ftz"])
def test_a_whole_model_is_used(models: dict[str, Path], kind: str) -> None:
    assert expected_bytes(models[kind]) == models[kind].stat().st_size
    (step,) = build_steps({"language": {"model": str(models[kind]), "languages": ["en"]}}).alone
    english = Document(WORDS["en"], 1)
    assert step(english) is english
    assert isinstance(step(Document(WORDS["de"], 1)), Removal)
    with pytest.raises(UserError, match=r"languages=eng: the model has no such language; did you mean en\?"):
        build_steps({"language": {"model": str(models[kind]), "languages": ["eng"]}})


@pytest.mark.parametrize("kind", ["bin", "ftz"])
def test_one_that_is_cut_short_anywhere_is_named(models: dict[str, Path], kind: str, tmp_path: Path) -> None:
    content = models[kind].read_bytes()
    size = len(content)
    for length in (0, 3, 4, 8, 60, 80, 90, 150, 400, size // 4, size // 2, size - 300, size - 1):
        path = tmp_path / f"{length}.{kind}"
        path.write_bytes(content[:length])
        with pytest.raises(UserError) as refused:
            build_steps({"language": {"model": str(path)}})
        message = str(refused.value)
        assert message.startswith(f"data.steps.language.model={path}: ") and message.endswith("; download it again")
        assert "\n" not in message and ("cut short" in message) == (length >= 4)


@pytest.mark.parametrize(
    ("place", "content", "message"),
    [
        (8, struct.pack("<i", 0), "damaged: it says that its vectors have 0 numbers"),
        (0, b"<htm", "wrong file format!"),
    ],
    ids=["no dimension", "no model"],
)
def test_one_that_fastText_cannot_load_is_refused(
    models: dict[str, Path], place: int, content: bytes, message: str, tmp_path: Path
) -> None:
    damaged = bytearray(models["bin"].read_bytes())
    damaged[place : place + len(content)] = content
    path = tmp_path / "lid.bin"
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=message) as refused:
        build_steps({"language": {"model": str(path)}})
    assert "\n" not in str(refused.value)
