"""A stage's samples: each once an epoch, at an exact position, the same under any data-parallel size."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from megatron.core.datasets.indexed_dataset import IndexedDataset

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import short_parts, training_dataset, validation_dataset
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest, load_manifest
from custom_modules.errors import UserError
from tests.support.tiny import TINY

Setting = tuple[Config, Manifest, Stage]


def setting(data: Path, *overrides: str, stage: str = "stage1") -> Setting:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={data}", "trainer.devices=1", *overrides])
    return config, load_manifest(config), Curriculum.from_config(config).stage(stage)


def stretched(data: Path, epochs: int) -> Setting:
    """A stage that reads its data ``epochs`` times, or just short of it."""
    _, manifest, _ = setting(data)
    tokens = sum(part.tokens for part in manifest.parts("stage1", "train"))
    budget = (epochs * tokens // 512 - 2 * epochs) * 512
    return setting(data, f"curriculum.stages.stage1.tokens={budget}", f"data.max_epochs={epochs}")


def windows(dataset: Any, count: int) -> list[bytes]:
    return [dataset[index]["tokens"].numpy().tobytes() for index in range(count)]


def test_every_sample_is_used_once_before_any_is_used_twice(
    single_process: None, prepared: Path, tmp_path: Path
) -> None:
    config, manifest, stage = stretched(prepared, 3)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    [part] = manifest.parts("stage1", "train")
    per_epoch = (part.tokens - 1) // stage.seq_length
    assert len(dataset) == 3 * per_epoch
    documents = IndexedDataset(str(part.prefix))
    stream = np.concatenate([documents[i] for i in range(part.documents)])
    epochs = [windows(dataset, len(dataset))[start : start + per_epoch] for start in range(0, 3 * per_epoch, per_epoch)]
    for epoch in epochs:
        read = np.concatenate([np.frombuffer(window, dtype=np.int64) for window in epoch])
        rest = len(stream) - len(read)
        assert 0 < rest <= stage.seq_length
        missing = np.bincount(stream, minlength=512) - np.bincount(read, minlength=512)
        assert (missing >= 0).all()
        assert missing.sum() == rest
    assert epochs[0] != epochs[1] != epochs[2]


def test_tokens_and_labels_are_neighbours_in_the_text(single_process: None, prepared: Path, tmp_path: Path) -> None:
    config, manifest, stage = setting(prepared, stage="stage2")
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    [part] = manifest.parts("stage2", "train")
    documents = IndexedDataset(str(part.prefix))
    texts = {bytes(documents[i].astype(np.int64)) for i in range(part.documents)}
    whole = 0
    for index in range(len(dataset)):
        sample = dataset[index]
        assert torch.equal(sample["tokens"][1:], sample["labels"][:-1])
        ends = (sample["tokens"] == manifest.eos_id).nonzero().flatten().tolist()
        for start, end in pairwise(ends):
            assert sample["tokens"][start + 1 : end + 1].numpy().tobytes() in texts
            whole += 1
    assert whole > 0


RAMP = "model.rampup_batch_tokens=[128,128,5000]"


def test_a_batch_that_grows_reads_every_sample_once_on_devices_that_change(
    single_process: None, prepared: Path, tmp_path: Path
) -> None:
    """A step's samples are those behind the step before, however many devices share them, from any step on."""
    config, manifest, stage = setting(prepared, RAMP)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    expected = iter(windows(dataset, stage.num_samples))
    assert len(stage.phases) == 4
    clock, devices, steps = 0, cycle([1, 2, 4]), 0
    while clock < stage.end_tokens:
        resumed = dataclasses.replace(stage, data_parallel_size=next(devices))
        phase, _ = next(resumed.phases_from(clock))
        ranks = range(phase.data_parallel_size)
        loaders = [Loader(config.data, 512, rank, torch.device("cpu")) for rank in ranks]
        with ExitStack() as stack:
            streams = [stack.enter_context(one.open_stage(dataset, resumed, clock)) for one in loaders]
            # Two steps of each start, of which the second may be of the next phase.
            for _ in range(2 if clock + phase.global_batch_tokens < stage.end_tokens else 1):
                phase, _ = next(resumed.phases_from(clock))
                found = [
                    row.numpy().tobytes()
                    for _ in range(phase.num_microbatches)
                    for stream in streams
                    for row in next(stream)["tokens"]
                ]
                assert found == [next(expected) for _ in range(phase.global_batch_size)]
                clock, steps = clock + phase.global_batch_tokens, steps + 1
    assert clock == stage.end_tokens
    assert next(expected, None) is None
    assert steps == stage.steps


@pytest.mark.parametrize("ranks", [1, 2, 4])
@pytest.mark.parametrize("micro", [1, 2, 4])
def test_a_step_is_the_same_samples_under_any_layout(
    single_process: None, prepared: Path, tmp_path: Path, ranks: int, micro: int
) -> None:
    config, manifest, stage = setting(prepared)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    expected = windows(dataset, 3 * stage.global_batch_size)
    stage = dataclasses.replace(stage, micro_batch_size=micro, data_parallel_size=ranks)
    streams = [list(micro_batches(dataset, stage, 0, len(expected), rank, 512)) for rank in range(ranks)]
    for step in range(3):
        first = step * stage.num_microbatches
        found = [
            row.numpy().tobytes()
            for stream in streams
            for batch in stream[first : first + stage.num_microbatches]
            for row in batch["tokens"]
        ]
        size = stage.global_batch_size
        assert sorted(found) == sorted(expected[step * size : (step + 1) * size])


def test_a_resumed_stream_is_the_rest_of_the_stream(single_process: None, prepared: Path, tmp_path: Path) -> None:
    config, manifest, stage = setting(prepared)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    whole = list(micro_batches(dataset, stage, 0, stage.num_samples, 0, 512))
    start = 5 * stage.global_batch_size
    rest = list(micro_batches(dataset, stage, start, stage.num_samples, 0, 512))
    assert len(rest) == len(whole) - 5 * stage.num_microbatches
    for one, other in zip(whole[5 * stage.num_microbatches :], rest, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in one)


def test_too_little_data_is_refused_with_what_would_work(single_process: None, prepared: Path, tmp_path: Path) -> None:
    config, manifest, stage = stretched(prepared, 3)
    short = config.model_copy(update={"data": config.data.model_copy(update={"max_epochs": 2})})
    with pytest.raises(UserError, match=r"data\.max_epochs=2: stage1 trains .* set data\.max_epochs=3"):
        training_dataset(short, manifest, stage, tmp_path)
    by_source = config.model_copy(update={"data": config.data.model_copy(update={"max_epochs": {"text": 2}})})
    with pytest.raises(UserError, match=r"data\.max_epochs=\{text: 2\}: .* set data\.max_epochs\.text=3"):
        training_dataset(by_source, manifest, stage, tmp_path)


def test_data_that_is_short_by_a_few_sequences_is_read_once_more_and_said(
    single_process: None, prepared: Path, tmp_path: Path
) -> None:
    config, manifest, stage = setting(prepared)
    [part] = manifest.parts("stage1", "train")
    there = 5 * ((part.tokens - 1) // stage.seq_length)
    steps = there // stage.global_batch_size + 1
    wanted = steps * stage.global_batch_size
    assert 100 * (wanted - there) < wanted, "so that it is a case of this kind"
    tokens = steps * stage.global_batch_tokens
    config, manifest, stage = setting(prepared, f"curriculum.stages.stage1.tokens={tokens}", "data.max_epochs=5")
    [said] = short_parts(config, manifest, stage)
    assert f"short by {wanted - there} of {wanted:,} sequences" in said
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    assert len(dataset) >= wanted


def test_validation_is_every_stages_text_at_this_length(single_process: None, prepared: Path, tmp_path: Path) -> None:
    for name in ("stage1", "stage2"):
        config, manifest, stage = setting(prepared, stage=name)
        dataset: Any = validation_dataset(config, manifest, stage, tmp_path)
        parts = [part for stage_name in ("stage1", "stage2") for part in manifest.parts(stage_name, "validation")]
        assert len(dataset) == sum((part.tokens - 1) // stage.seq_length for part in parts)
        assert dataset[0]["tokens"].shape == (stage.seq_length,)


def test_an_index_cache_is_never_stale(single_process: None, prepared: Path, tmp_path: Path) -> None:
    """New data under the same name gets a new index; an index that a killed run left half-written is built again."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    shutil.copytree(prepared, data)
    config, manifest, stage = setting(data)
    before = windows(training_dataset(config, manifest, stage, cache), 4)
    [index] = cache.iterdir()
    left = index.rename(index.with_name(f".{index.name}.partial"))
    for file in left.glob("*.npy"):
        file.write_bytes(file.read_bytes()[:40])
    assert windows(training_dataset(config, manifest, stage, cache), 4) == before
    changed = dataclasses.replace(manifest.parts("stage1", "train")[0], sha256={"bin": "other", "idx": "other"})
    manifest.stages["stage1"]["train"] = [changed]
    training_dataset(config, manifest, stage, cache)
    assert len(list(cache.iterdir())) == 2


Builder = Callable[[Config, Manifest, Stage, Path], Any]


def index_files(cache: Path) -> dict[str, tuple[int, bytes]]:
    """The inode and the bytes of each file."""
    files = [path for path in cache.rglob("*") if path.is_file()]
    return {str(path.relative_to(cache)): (path.stat().st_ino, path.read_bytes()) for path in files}


@pytest.mark.parametrize("build", [training_dataset, validation_dataset])
def test_index_files_are_of_a_content_and_not_of_a_path(
    build: Builder, single_process: None, prepared: Path, tmp_path: Path
) -> None:
    """The validation set is a blend of both stages' parts."""
    cache = tmp_path / "cache"
    before = windows(build(*setting(prepared), cache), 4)
    files = index_files(cache)
    assert {name.rpartition("-")[2] for name in files} >= {"sample_index.npy", "description.txt"}
    assert not any(str(prepared).encode() in content for _, content in files.values())
    shutil.copytree(prepared, tmp_path / "moved")
    (tmp_path / "link").symlink_to(prepared)
    for place in (tmp_path / "moved", tmp_path / "link", prepared.parent / "." / prepared.name / ".." / prepared.name):
        assert windows(build(*setting(place), cache), 4) == before
        assert index_files(cache) == files


@pytest.mark.slow
@pytest.mark.parametrize("build", [training_dataset, validation_dataset])
def test_an_index_file_that_was_damaged_is_made_again(
    build: Builder, single_process: None, prepared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    before = windows(build(*setting(prepared), cache), 4)
    files = {name: content for name, (_, content) in index_files(cache).items()}
    assert len(files) >= 5
    for number, (name, content) in enumerate(files.items()):
        path = cache / name
        damaged = (b"", content[:-1], content[:-1] + bytes([content[-1] ^ 1]), None)[number % 4]
        path.unlink()
        if damaged is not None:
            path.write_bytes(damaged)
        assert windows(build(*setting(prepared), cache), 4) == before
        assert {name: content for name, (_, content) in index_files(cache).items()} == files
    assert f"{path.parent}: " in capfd.readouterr().err


def test_an_id_beyond_the_vocabulary_stops_the_batch(single_process: None, prepared: Path, tmp_path: Path) -> None:
    config, manifest, stage = setting(prepared)
    dataset: Any = training_dataset(config, manifest, stage, tmp_path)
    with pytest.raises(UserError, match=r"stage1: token id \d+ in samples 0 to 1 is beyond model\.vocab_size=10"):
        next(micro_batches(dataset, stage, 0, stage.num_samples, 0, vocab_size=10))
