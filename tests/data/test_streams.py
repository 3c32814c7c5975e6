"""Two streams of a stage, and teachers' rows that follow their tokens: in any order, on any devices, from any step."""

from __future__ import annotations

import dataclasses
import json
import shutil
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import Batch, micro_batches
from custom_modules.data.dataset import short_parts, training_dataset
from custom_modules.data.index import open_index
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest, load_manifest
from custom_modules.data.teachers import check_teachers
from custom_modules.distillation.rows import note_file, rows_file
from custom_modules.errors import UserError
from tests.support.taught import (
    EVERY_4TH,
    PREFIX,
    PROBABILITIES,
    TAUGHT,
    TEACHERS,
    TOP_K,
    WITH_TEXTS,
    alternative_to,
    ids_beside,
    prepare_taught,
)
from tests.support.tiny import TINY, VOCAB_SIZE

HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
LOADERS = ["native", pytest.param("dali", marks=pytest.mark.skipif(not HAS_DALI, reason="DALI is not installed"))]
RAMP = "model.rampup_batch_tokens=[128,128,5000]"
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return prepare_taught(tmp_path_factory.mktemp("taught"))


def setting(data: Path, *overrides: str) -> tuple[Config, Manifest, Stage]:
    words = [*TINY, f"data.dir={data}", "trainer.devices=1", "data.max_epochs=2", *overrides]
    config = load_config("danube_rehearsal", words)
    return config, load_manifest(config), Curriculum.from_config(config).stage("stage1")


def windows(manifest: Manifest, stream: str, length: int) -> set[bytes]:
    """Every window of a few tokens of a stream's documents."""
    (part,) = (part for part in manifest.parts("stage1", "train") if part.stream == stream)
    tokens, bounds = np.fromfile(part.bin, part.dtype), open_index(part.idx).boundaries(0, part.documents)
    documents = [tokens[a:b].astype(np.int64) for a, b in pairwise(bounds)]
    return {one[i : i + length].tobytes() for one in documents for i in range(len(one) - length + 1)}


def test_every_fourth_step_reads_the_distilled_part_and_only_it_on_devices_that_change(
    single_process: None, taught: Path, tmp_path: Path
) -> None:
    """From any step on, and under a batch that grows: each sample of each stream once an epoch."""
    config, manifest, stage = setting(taught, *TAUGHT, RAMP)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    assert len(stage.phases) == 4
    of_stream = {stream: windows(manifest, stream, 12) for stream in ("plain", "distilled")}
    assert not of_stream["plain"] & of_stream["distilled"]
    clock, devices, step = 0, cycle([1, 2, 4]), 0
    read: dict[str, list[bytes]] = {"plain": [], "distilled": []}
    while clock < stage.end_tokens:
        resumed = dataclasses.replace(stage, data_parallel_size=next(devices))
        with ExitStack() as stack:
            loaders = [Loader(config.data, 512, rank, CPU) for rank in range(resumed.data_parallel_size)]
            ranks = [stack.enter_context(one.open_stage(dataset, resumed, clock)) for one in loaders]
            for _ in range(3):
                if clock == stage.end_tokens:
                    break
                phase, _ = next(resumed.phases_from(clock))
                batches = [next(rank) for _ in range(phase.num_microbatches) for rank in ranks]
                step += 1
                stream, other = ("plain", "distilled") if step % 4 else ("distilled", "plain")
                for batch in batches:
                    assert ("teacher_ids" in batch) == (stream == "distilled")
                    for row in batch["tokens"].numpy():
                        read[stream].append(row.tobytes())
                        pieces = {row[i : i + 12].tobytes() for i in range(len(row) - 11)}
                        assert not pieces & of_stream[other]
                clock += phase.global_batch_tokens
    assert step == stage.steps
    whole = [dataset[index]["tokens"].numpy().tobytes() for index in range(stage.num_samples)]
    assert sorted(read["plain"] + read["distilled"]) == sorted(whole)
    for stream, samples in read.items():
        (part,) = (part for part in manifest.parts("stage1", "train") if part.stream == stream)
        an_epoch = (part.tokens - 1) // stage.seq_length
        assert len(samples) > an_epoch / 2
        for begin in range(0, len(samples), an_epoch):
            assert len(set(samples[begin : begin + an_epoch])) == len(samples[begin : begin + an_epoch])


def test_without_teachers_both_parts_are_trained_on_as_one(single_process: None, taught: Path, tmp_path: Path) -> None:
    config, manifest, stage = setting(taught, *EVERY_4TH)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    parts = manifest.parts("stage1", "train")
    shares = np.bincount(dataset.dataset_index[: stage.num_samples]) / stage.num_samples
    assert [part.stream for part in parts] == ["plain", "distilled"]
    assert abs(shares[1] - parts[1].tokens / sum(part.tokens for part in parts)) < 2 / stage.num_samples
    assert all(
        batch.keys() == {"tokens", "labels", "position_ids"}
        for batch in micro_batches(dataset, stage, 0, stage.num_samples, 0, VOCAB_SIZE)
    )


def check_rows(batch: Batch) -> int:
    """Hold the rows of a batch against its tokens; returns at how many positions teachers say nothing."""
    tokens, silent = batch["tokens"].numpy(), 0
    ids, probabilities = batch["teacher_ids"], batch["teacher_probabilities"]
    assert (ids.dtype, probabilities.dtype) == (torch.int32, torch.float32)
    assert ids.shape == probabilities.shape == (*tokens.shape, len(TEACHERS), TOP_K)
    says = (probabilities != 0).any(dim=-1).numpy()
    for number in range(len(TEACHERS)):
        expected = ids_beside(tokens.reshape(-1), number).reshape(*tokens.shape, TOP_K)
        assert (ids[:, :, number].numpy()[says[:, :, number]] == expected[says[:, :, number]]).all()
        np.testing.assert_allclose(probabilities[:, :, number].numpy()[says[:, :, number]][0], PROBABILITIES, atol=5e-3)
        silent += int((~says[:, :, number]).sum())
        # The end of a document: its last token says nothing of what follows.
        assert ((tokens == 2) <= ~says[:, :, number]).all()
    return silent


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize(("ranks", "micro"), [(1, 4), (2, 2)])
def test_rows_follow_their_tokens(
    single_process: None, taught: Path, tmp_path: Path, loader: str, ranks: int, micro: int
) -> None:
    config, manifest, stage = setting(taught, *TAUGHT, f"data.loader={loader}", "model.seed=77")
    stage = dataclasses.replace(stage, data_parallel_size=ranks, micro_batch_size=micro)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    distilled = silent = 0
    for rank in range(ranks):
        expected = list(micro_batches(dataset, stage, 0, stage.num_samples, rank, VOCAB_SIZE))
        with Loader(config.data, VOCAB_SIZE, rank, CPU).open(dataset, stage, range(stage.num_samples)) as batches:
            found = list(batches)
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[name], other[name]) and one[name].dtype == other[name].dtype for name in one)
            if "teacher_ids" in one:
                distilled += len(one["tokens"])
                silent += check_rows(one)
    assert distilled == stage.steps // 4 * stage.global_batch_size
    assert 0 < silent < 0.1 * distilled * stage.seq_length * len(TEACHERS)


def test_a_stream_that_is_short_by_a_few_sequences_is_said(single_process: None, taught: Path) -> None:
    """Each stream by itself: the other's plenty is not its own."""
    manifest = setting(taught, *TAUGHT)[1]
    (part,) = (part for part in manifest.parts("stage1", "train") if part.stream == "distilled")
    an_epoch = (part.tokens - 1) // 32
    steps = (32 * an_epoch // 16 + 1) * 4
    config, manifest, stage = setting(
        taught, *TAUGHT, f"curriculum.stages.stage1.tokens={512 * steps}", "data.max_epochs=32"
    )
    assert 0 < (beyond := steps // 4 * 16 - 32 * an_epoch) < steps // 4 * 16 / 100, "so that it is a case of this kind"
    distilled = [line for line in short_parts(config, manifest, stage) if "distilled" in line]
    assert [f"short by {beyond} of" in line for line in distilled] == [True]


def padded(document: np.ndarray[Any, Any], length: int, eos_id: int) -> tuple[list[int], list[int], list[float]]:
    """Tokens, labels and what of them counts, of a whole document: written out place by place."""
    tokens, labels, mask = [], [], []
    for place in range(length):
        tokens.append(int(document[place]) if place < len(document) else eos_id)
        labels.append(int(document[place + 1]) if place + 1 < len(document) else eos_id)
        is_behind = place + 1 >= PREFIX or min(len(document), length + 1) <= PREFIX
        mask.append(float(is_behind and place + 1 < len(document)))
    return tokens, labels, mask


@pytest.mark.parametrize("loader", LOADERS)
def test_with_texts_a_distilled_sample_is_a_document_and_its_alternatives(
    single_process: None, taught: Path, tmp_path: Path, loader: str
) -> None:
    """Each once an epoch, beside the same document's rows."""
    length = "curriculum.stages.stage1={tokens: 14000, encoder_seq_length: 64}"
    config, manifest, stage = setting(taught, *WITH_TEXTS, length, f"data.loader={loader}", "data.max_epochs=4")
    (part,) = (part for part in manifest.parts("stage1", "train") if part.stream == "distilled")
    tokens, bounds = np.fromfile(part.bin, part.dtype), open_index(part.idx).boundaries(0, part.documents)
    documents = [tokens[a:b] for a, b in pairwise(bounds)]
    assert min(map(len, documents)) < 64 < max(map(len, documents)), "so that some are cut and some are filled up"
    expected = {}
    for number, document in enumerate(documents):
        own = padded(document, 64, manifest.eos_id)
        other = alternative_to(document, number)
        alternative = (
            padded(other, 64, manifest.eos_id) if len(other) > 1 else ([manifest.eos_id] * 64,) * 2 + ([0] * 64,)
        )
        assert tuple(own[0]) not in expected
        expected[tuple(own[0])] = own, alternative
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    read = []
    with Loader(config.data, VOCAB_SIZE, 0, CPU).open(dataset, stage, range(stage.num_samples)) as batches:
        for batch in batches:
            if "alternative_tokens" not in batch:
                assert batch.keys() == {"tokens", "labels", "position_ids"}
                continue
            names = ("tokens", "labels", "loss_mask", *(f"alternative_{name}" for name in ("tokens", "labels", "mask")))
            assert batch["loss_mask"].dtype == batch["alternative_mask"].dtype == torch.float32
            for row in zip(*(batch[name].tolist() for name in names), strict=True):
                own, alternative = expected[tuple(row[0])]
                assert row[:3] == own
                assert [texts[0] for texts in row[3:]] == list(alternative)
                read.append(tuple(row[0]))
            check_rows(batch)
    assert len(read) == stage.steps // 4 * stage.global_batch_size > len(documents)
    for begin in range(0, len(read), len(documents)):
        epoch = read[begin : begin + len(documents)]
        assert len(set(epoch)) == len(epoch)
    assert read[: len(documents)] != read[len(documents) : 2 * len(documents)]


def altered(folder: Path, taught: Path, change: Any) -> Path:
    data = folder / "data"
    shutil.copytree(taught, data)
    _, manifest, _ = setting(data, *TAUGHT)
    (part,) = (part for part in manifest.parts("stage1", "train") if part.stream == "distilled")
    change(rows_file(part.prefix, "two"))
    return data


def cut(rows: Path) -> None:
    rows.write_bytes(rows.read_bytes()[:-1])


def with_note(**changes: Any) -> Any:
    def change(rows: Path) -> None:
        note = json.loads(note_file(rows).read_bytes())
        note_file(rows).write_text(json.dumps({**note, **changes}))

    return change


@pytest.mark.parametrize(
    ("change", "overrides", "said"),
    [
        (Path.unlink, [], r"^distillation\.teachers\.two: there is no .*danube teach --teacher two"),
        (cut, [], r"text_distilled\.two\.rows: cut short"),
        (with_note(tokenizer_sha256="0" * 64), [], r"two\.rows: of another tokenizer"),
        (with_note(bin_sha256="0" * 64), [], r"two\.rows: of other data"),
        (with_note(sha256="0" * 64), [], r"two\.rows: not the rows that .*manifest\.json names"),
        (lambda rows: None, ["distillation.top_k=8"], r"^distillation\.top_k=8: .* has 4 tokens at each position"),
        (
            lambda rows: None,
            ["distillation.teachers.four.targets=text"],
            r"^distillation\.teachers\.four: there is no ",
        ),
        (lambda rows: None, ["distillation.teachers.three={}"], r"^distillation\.teachers\.three: there is no "),
    ],
)
def test_rows_that_are_not_there_or_others_are_refused_before_a_step(
    taught: Path, tmp_path: Path, change: Any, overrides: list[str], said: str
) -> None:
    config, manifest, stage = setting(altered(tmp_path, taught, change), *TAUGHT, *overrides)
    with pytest.raises(UserError, match=said) as caught:
        check_teachers(config, manifest, [stage])
    assert "\n" not in str(caught.value)


def test_data_without_a_distilled_part_is_refused(single_process: None, prepared: Path, tmp_path: Path) -> None:
    config, manifest, stage = setting(prepared, *TAUGHT)
    with pytest.raises(UserError, match=r"manifest\.json: stage1: distillation\.every_n_batches=4: there is no distil"):
        training_dataset(config, manifest, stage, tmp_path)
