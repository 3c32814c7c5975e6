"""A teacher's rows against one document at a time, added up by hand in float64."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from custom_modules.distillation.quantised import dequantise
from custom_modules.errors import UserError
from custom_modules.tokenizer import load_tokenizer
from data_prep.teach.alignment import Aligned
from data_prep.teach.score import Scorer
from data_prep.teach.teacher import LONGEST, Teacher, load_teacher, open_teacher
from data_prep.teach.top_k import StudentsTopK
from data_prep.teach.vocabulary import ByteVocabulary, map_tokens
from data_prep.teach.windows import ROWS, STEP, batches, cut
from tests.support.teachers import write_byte_level, write_gpt2, write_llama, write_lokilm, write_sentencepiece
from tests.support.tokenizers import ENGLISH

K = 8
CPU = torch.device("cpu")
TEXTS = [*(text[: 40 * (number + 1)] for number, text in enumerate(ENGLISH[:9])), "", "x", "naïve 你好"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("teachers")
    return {
        "llama": write_llama(write_sentencepiece(folder / "llama"), 500, positions=1024),
        "lokilm": write_lokilm(write_byte_level(folder / "lokilm"), 400, positions=600),
        "gpt2": write_gpt2(write_byte_level(folder / "gpt2"), 448, positions=600),
    }


def loaded(folder: Path, length: int | None = None) -> Teacher:
    return load_teacher(open_teacher(folder), CPU, length)


def expected(teacher: Teacher, student: ByteVocabulary, tokens: list[int]) -> list[dict[int, float]]:
    """What the teacher says behind each token of a document: probabilities by the student's ids; nothing at some."""
    theirs = ByteVocabulary(teacher.folder.tokenizer)
    mapping = map_tokens(theirs, student).tolist()
    text = student.tokenizer.decode(tokens[:-1])
    ids = theirs.tokenizer.encode(text)
    with torch.no_grad():
        logits = teacher.model(torch.tensor([[teacher.folder.first_id, *ids]])).logits[0].double()
    sums = torch.softmax(logits, dim=-1).tolist()
    ends: dict[int, int] = {}
    place = -len(b"".join(theirs.contents[index] for index in ids)) + len(text.encode())
    for number, index in enumerate([*ids, theirs.tokenizer.eos_id]):
        ends[max(place, 0)] = number
        place += len(theirs.contents[index])
    said: list[dict[int, float]] = []
    place = -len(b"".join(student.contents[index] for index in tokens)) + len(text.encode())
    for index in tokens[:-1]:
        place += len(student.contents[index])
        row: dict[int, float] = defaultdict(float)
        if max(place, 0) in ends:
            for their, probability in enumerate(sums[ends[max(place, 0)]][: len(mapping)]):
                if mapping[their] >= 0:
                    row[mapping[their]] += probability
        said.append(dict(row))
    return [*said, {}]


@pytest.mark.parametrize(
    ("teacher", "student"), [("llama", "llama"), ("llama", "gpt2"), ("gpt2", "llama"), ("lokilm", "llama")]
)
def test_rows_are_what_the_teacher_says_of_the_next_token(teacher: str, student: str, folders: dict[str, Path]) -> None:
    tokenizer = open_teacher(folders[student]).tokenizer
    own, model = ByteVocabulary(tokenizer), loaded(folders[teacher])
    documents = [[*tokenizer.encode(text), tokenizer.eos_id] for text in TEXTS]
    records, covered = Scorer(model, tokenizer, K).score([np.array(each, np.uint16) for each in documents])
    probabilities = dequantise(records["codes"]).astype(np.float64)
    said = [row for tokens in documents for row in expected(model, own, tokens)]
    assert len(records) == len(said) and any(said)
    rows = zip(records["ids"], probabilities, strict=True)
    for row, (ids, found) in zip(said, rows, strict=True):
        top = sorted(row.values(), reverse=True)[:K]
        assert np.abs(np.sort(found)[::-1][: len(top)] - top).max(initial=0) < 0.0079
        for index, probability in zip(ids.tolist(), found.tolist(), strict=True):
            assert probability == 0 or abs(probability - row[index]) < 0.0079
        assert (found.sum() > 0) == bool(row)
    assert covered.covered == sum(map(bool, said)) and covered.positions == sum(len(each) - 1 for each in documents)
    assert covered.share > (0.999 if teacher == student else 0.4)


def test_top_k_adds_up_what_becomes_one_token() -> None:
    source = np.random.default_rng(1)
    mapping = source.integers(-1, 30, 70).astype(np.int32)
    logits = torch.from_numpy(source.normal(size=(600, 80)) * 3).float()
    ids, probabilities = StudentsTopK(mapping, 80, 30, 5, CPU)(logits)
    exact = torch.softmax(logits.double(), -1).numpy()
    dense = np.zeros((600, 31))
    np.add.at(dense.T, np.where(mapping < 0, 30, mapping), exact[:, :70].T)
    best = -np.sort(-dense[:, :30], axis=1)[:, :5]
    assert np.abs(probabilities - best).max() < 1e-6
    assert np.abs(np.take_along_axis(dense, ids, 1) - probabilities).max() < 1e-6
    few_ids, few = StudentsTopK(mapping, 80, 30, 40, CPU)(logits)
    assert few.shape == (600, 40) and not few[:, 30:].any() and not few_ids[:, 30:].any()


@pytest.mark.parametrize("length", [2, 7, 64, 100])
@pytest.mark.parametrize("count", [1, 6, 63, 64, 300])
def test_windows_have_every_prediction_once_and_enough_before_it(length: int, count: int) -> None:
    source = np.random.default_rng(count)
    ids = source.integers(1, 1000, count)
    predictions = np.unique(source.integers(0, count + 1, 2 * count))
    aligned = Aligned(ids, np.arange(len(predictions)) * 3, predictions)
    seen = []
    for window in cut(4, aligned, 0, length):
        assert window.document == 4 and 1 <= len(window.ids) <= length and window.ids[0] == 0
        for row, place in zip(window.rows.tolist(), window.places.tolist(), strict=True):
            prediction = int(predictions[row // 3])
            read = window.ids[1 : place + 1]
            assert np.array_equal(read, ids[prediction - len(read) : prediction])
            assert len(read) == prediction or len(read) >= length // 4
            seen.append(row)
    assert seen == aligned.rows.tolist()


def test_batches_have_few_shapes() -> None:
    def window_of(length: int) -> Any:
        return next(cut(length, Aligned(np.full(length, 7), np.array([0]), np.array([length])), 1, LONGEST))

    found: dict[int, NDArray[np.int64]] = {}
    for ids, windows in batches([window_of(length) for length in range(1, 200, 9)], 200):
        assert ids.shape[0] == ROWS and (ids.shape[1] % STEP == 0 or ids.shape[1] == 200)
        for row, window in zip(ids, windows, strict=False):
            assert np.array_equal(row[: len(window.ids)], window.ids) and not row[len(window.ids) :].any()
            found[window.document] = row
    assert sorted(found) == list(range(1, 200, 9))


def test_a_long_document_is_read_in_windows(folders: dict[str, Path]) -> None:
    """Of the first window nothing depends on what it is cut to; behind it the context is shorter."""
    tokenizer = open_teacher(folders["gpt2"]).tokenizer
    tokens = np.array([*tokenizer.encode(max(ENGLISH, key=len)[:2500]), tokenizer.eos_id])
    short, long = (Scorer(loaded(folders["gpt2"], length), tokenizer, K).score([tokens])[0] for length in (96, None))
    assert len(tokens) > 600
    differ = np.abs(dequantise(short["codes"]) - dequantise(long["codes"])).max(axis=1) > 0.005
    assert not differ[:95].any() and differ[95:].any()
    assert short["codes"][:-1].any(axis=1).all() and long["codes"][:-1].any(axis=1).all()


def test_a_teacher_that_is_not_finite_is_refused(folders: dict[str, Path]) -> None:
    teacher = loaded(folders["llama"])
    with torch.no_grad():
        teacher.model.get_output_embeddings().weight[3, 0] = float("nan")
    tokens = np.array([*teacher.folder.tokenizer.encode("some text"), teacher.folder.tokenizer.eos_id])
    with pytest.raises(UserError, match="its logits are not all finite"):
        Scorer(teacher, teacher.folder.tokenizer, K).score([tokens])


def test_folders_that_are_no_teachers_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config.json there.*nothing is downloaded"):
        open_teacher(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UserError, match=r"neither tokenizer.model nor tokenizer.json there"):
        open_teacher(tmp_path)
    write_byte_level(tmp_path)
    with pytest.raises(UserError, match="transformers cannot load it as a causal language model"):
        load_teacher(open_teacher(tmp_path), CPU, None)
    write_llama(tmp_path, 300)
    with pytest.raises(UserError, match="its tokenizer has 400 tokens, its model 300"):
        load_teacher(open_teacher(tmp_path), CPU, None)
    with pytest.raises(UserError, match=r"--length 601: .* reads 2 to 600 tokens"):
        loaded(folders["gpt2"], 601)


def test_a_teacher_is_known_by_its_weights(folders: dict[str, Path], tmp_path: Path) -> None:
    first = open_teacher(write_llama(write_byte_level(tmp_path / "a"), 448, seed=1))
    same = open_teacher(write_llama(write_byte_level(tmp_path / "b"), 448, seed=1))
    other = open_teacher(write_llama(write_byte_level(tmp_path / "c"), 448, seed=2))
    assert first.digest == same.digest != other.digest
    assert load_tokenizer("huggingface", tmp_path / "a").sha256 == first.tokenizer.sha256
