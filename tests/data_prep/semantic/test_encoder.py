from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray

from custom_modules.data_steps.options import SemDedupOptions
from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from data_prep.semantic.clusters import fit
from data_prep.semantic.embeddings import embed_shard
from data_prep.semantic.encoder import SentenceEncoder
from tests.support.semantic import semantic_removals as removals


@pytest.fixture
def copied(encoder_folder: Path, tmp_path: Path) -> Path:
    """A folder to spoil or to add to."""
    return Path(shutil.copytree(encoder_folder, tmp_path / "encoder"))


def as_sentence_transformers(folder: Path, *further: str, maximum: int | None = None, **pooling: Any) -> Path:
    """Put the files beside an encoder that sentence-transformers would have written."""
    kinds = ["Transformer", "Pooling", *further]
    places = ["", *(f"{number}_{kind}" for number, kind in enumerate(kinds) if number)]
    modules = [
        {"idx": number, "path": place, "type": f"sentence_transformers.models.{kind}"}
        for number, (kind, place) in enumerate(zip(kinds, places, strict=True))
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": maximum, "do_lower_case": True}))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 48, **pooling}))
    return folder


def plainly(folder: Path, texts: list[str], pooling: str, max_length: int = 76) -> NDArray[np.float32]:
    """One text after the other through transformers, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModel.from_pretrained(folder).eval()
    rows = []
    for text in texts:
        with torch.inference_mode():
            ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=max_length)["input_ids"]
            hidden = model(input_ids=ids).last_hidden_state[0]
        pooled = hidden[0] if pooling == "cls" else hidden.sum(dim=0) / len(hidden)
        rows.append((pooled / pooled.square().sum().sqrt()).numpy())
    return np.stack(rows)


def test_the_mean_over_tokens_is_that_of_a_plain_formula(
    encoder_folder: Path, make_documents: Callable[..., list[str]]
) -> None:
    texts = [*make_documents(40, shortest=1, longest=120), ""]
    found = SentenceEncoder(encoder_folder, batch_size=7).embed(texts)
    assert found.dtype == np.float32 and found.shape == (41, 48)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.allclose(found, plainly(encoder_folder, texts, "mean"), atol=1e-5)


@pytest.mark.parametrize("pooling", [{"pooling_mode_cls_token": True}, {"pooling_mode": "cls"}])
def test_a_sentence_transformers_folder_decides_pooling_length_and_case(
    copied: Path, make_documents: Callable[..., list[str]], pooling: dict[str, Any]
) -> None:
    texts = make_documents(12)
    folder = as_sentence_transformers(copied, "Normalize", maximum=24, **pooling, pooling_mode_mean_tokens=False)
    encoder = SentenceEncoder(folder)
    assert encoder.max_length == 24
    expected = plainly(folder, texts, "cls", max_length=24)
    assert np.allclose(encoder.embed([text.upper() for text in texts]), expected, atol=1e-5)


def test_a_vector_depends_on_neither_neighbours_nor_batch_size(
    encoder_folder: Path, make_documents: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = make_documents(50, shortest=1, longest=90)
    whole = SentenceEncoder(encoder_folder).embed(texts)
    other = SentenceEncoder(encoder_folder, batch_size=5)
    monkeypatch.setattr("data_prep.semantic.encoder._TOKENIZED_AT_ONCE", 11)
    parts = np.concatenate([other.embed(texts[:13]), other.embed(texts[13:])])
    assert np.allclose(whole, parts, atol=1e-6)
    assert other.embed([]).shape == (0, 48)


def test_length_and_prefix_can_be_given(encoder_folder: Path, make_documents: Callable[..., list[str]]) -> None:
    texts = make_documents(5)
    found = SentenceEncoder(encoder_folder, max_length=10, prefix="w1 w2 ").embed(texts)
    expected = plainly(encoder_folder, ["w1 w2 " + text for text in texts], "mean", max_length=10)
    assert np.allclose(found, expected, atol=1e-5)


def test_a_text_without_any_token_has_a_vector_too(copied: Path) -> None:
    content = json.loads((copied / "tokenizer.json").read_text())
    (copied / "tokenizer.json").write_text(json.dumps({**content, "post_processor": None}))
    found = SentenceEncoder(copied).embed(["", "w1", " "])
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)
    assert np.array_equal(found[0], found[2])
    assert np.allclose(found[1:2], plainly(copied, ["w1"], "mean"), atol=1e-5)


def _no_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


def _half_the_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _a_layer_more(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "num_hidden_layers": 3}))


def _no_tokenizer(folder: Path) -> None:
    for file in folder.glob("tokenizer*"):
        file.unlink()


def _weighted_pooling(folder: Path) -> None:
    as_sentence_transformers(folder, pooling_mode_weightedmean_tokens=True)


def _a_dense_layer(folder: Path) -> None:
    as_sentence_transformers(folder, "Dense", pooling_mode_mean_tokens=True)


def _broken_modules(folder: Path) -> None:
    (folder / "modules.json").write_text("{}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_no_folder, "no such folder"),
        (_no_config, "no config.json"),
        (_no_weights, "transformers cannot load it"),
        (_half_the_weights, "transformers cannot load it"),
        (_a_layer_more, "weights are missing, such as encoder.layer.2."),
        (_no_tokenizer, "cannot load a tokenizer"),
        (_weighted_pooling, "pools by pooling_mode_weightedmean_tokens"),
        (_a_dense_layer, "the module Dense is not supported"),
        (_broken_modules, "no list in it"),
    ],
)
def test_a_missing_or_wrong_folder_is_refused_in_one_line(
    copied: Path, spoil: Callable[[Path], None], message: str
) -> None:
    spoil(copied)
    with pytest.raises(UserError, match=message) as raised:
        SentenceEncoder(copied)
    assert str(copied) in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [({"max_length": 77}, "max_length=77.*reads 76 tokens"), ({"device": "abacus"}, "device=abacus")],
)
def test_an_option_that_the_encoder_cannot_follow_is_refused(
    encoder_folder: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        SentenceEncoder(encoder_folder, **options)


def test_texts_with_one_word_changed_are_found_through_the_encoder(
    encoder_folder: Path, make_documents: Callable[..., list[str]], tmp_path: Path
) -> None:
    originals = make_documents(200, shortest=40)
    changed = [" ".join([*text.split()[:-1], "w7"]) for text in originals[::4]]
    texts = [text for pair in zip(originals, [*changed, *[""] * 150], strict=True) for text in pair if text]
    options = SemDedupOptions(encoder=str(encoder_folder), max_cosine=0.9975, dtype="float16", clusters=5)
    paths = [tmp_path / "00000.npy", tmp_path / "00001.npy"]
    encoder = SentenceEncoder.of(options)
    embed_shard(encoder, texts[:90], paths[0], options.dtype)
    embed_shard(encoder, texts[90:], paths[1], options.dtype)
    found = removals(paths, fit(paths, options), options)
    gone = [texts[row + 90 * (path == paths[1])] for path in paths for row, _ in found[path]]
    of_a_pair = {text.rpartition(" ")[0] for text in changed}
    right = {text.rpartition(" ")[0] for text in gone} & of_a_pair
    assert len(right) >= 0.95 * len(gone)
    assert len(right) >= 0.95 * len(changed)


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "pytorch_model.bin"])
@pytest.mark.parametrize("step", ["semdedup", "prototypes"])
def test_a_folder_with_a_file_that_is_cut_short_is_refused_before_any_work(
    encoder_folder: Path, name: str, step: str, tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(encoder_folder, folder)
    torch.save({"weight": torch.zeros(100)}, folder / "pytorch_model.bin")
    build_steps({step: {"encoder": str(folder)}})
    whole = (folder / name).read_bytes().rstrip(b"\n")
    for length in (5, len(whole) // 2, len(whole) - 1):
        (folder / name).write_bytes(whole[:length])
        with pytest.raises(UserError, match=rf"{step}.encoder={folder}: {name} is cut short or damaged \(.*\);"):
            build_steps({step: {"encoder": str(folder)}})
