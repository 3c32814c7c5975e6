"""Every loader gives the batches that plain indexing gives, bit for bit, and leaves nothing running."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.schema import DataConfig
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import Dataset, training_dataset
from custom_modules.data.index import open_index
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import OwnShareError
from tests.support.commands import start_danube
from tests.support.runs import assert_same_run
from tests.support.tiny import TINY, VOCAB_SIZE

Run = subprocess.CompletedProcess[str]
HAS_DALI = find_spec("nvidia") is not None and find_spec("nvidia.dali") is not None
needs_dali = pytest.mark.skipif(not HAS_DALI, reason="NVIDIA DALI is not installed (the `dali` extra)")
LOADERS = ["native", pytest.param("dali", marks=needs_dali)]
CPU = torch.device("cpu")


@pytest.fixture
def blend(single_process: None, prepared: Path, tmp_path: Path) -> tuple[Dataset, Stage]:
    """A stage that blends two datasets."""
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={prepared}", "trainer.devices=1"])
    manifest = load_manifest(config)
    manifest.stages["stage1"]["train"] += manifest.stages["stage2"]["train"]
    stage = Curriculum.from_config(config).stage("stage1")
    return training_dataset(config, manifest, stage, tmp_path / "cache"), stage


def data_config(loader: str, ahead: int = 2) -> DataConfig:
    return load_config("danube_rehearsal", [f"data.loader={loader}", f"data.prefetch_factor={ahead}"]).data


@pytest.mark.parametrize(("ranks", "micro", "ahead"), [(1, 1, 1), (1, 4, 2), (2, 2, 2), (4, 2, 5)])
@pytest.mark.parametrize("loader", LOADERS)
def test_the_same_batches(blend: tuple[Dataset, Stage], loader: str, ranks: int, micro: int, ahead: int) -> None:
    """The loaders agree from the beginning and from the middle of the stage."""
    dataset, stage = blend
    stage = dataclasses.replace(stage, micro_batch_size=micro, data_parallel_size=ranks)
    for start in (0, 5 * stage.global_batch_size):
        for rank in range(ranks):
            expected = list(micro_batches(dataset, stage, start, stage.num_samples, rank, VOCAB_SIZE))
            samples = range(start, stage.num_samples)
            with Loader(data_config(loader, ahead), VOCAB_SIZE, rank, CPU).open(dataset, stage, samples) as batches:
                found = list(batches)
            assert len(found) == len(expected) > 5
            for one, other in zip(found, expected, strict=True):
                assert one.keys() == other.keys()
                for name, tensor in one.items():
                    assert (tensor.device, tensor.dtype) == (CPU, torch.int64)
                    assert torch.equal(tensor, other[name])


class Damaged(Dataset):
    """Counts what is read, and has one sample with an id beyond the vocabulary."""

    def __init__(self, dataset: Dataset, damaged: int | None = None) -> None:
        self.dataset = dataset
        self.damaged = damaged
        self.read: list[int] = []

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        self.read.append(index)
        sample = self.dataset[index]
        return {**sample, "labels": sample["labels"] + VOCAB_SIZE} if index == self.damaged else sample


@pytest.mark.parametrize("loader", LOADERS)
def test_an_id_beyond_the_vocabulary_is_said_in_its_own_words(blend: tuple[Dataset, Stage], loader: str) -> None:
    dataset, stage = blend
    damaged, samples, seen = Damaged(dataset, 9), range(stage.num_samples), 0
    message = r"stage1: token id \d+ in samples 8 to 9 is beyond model\.vocab_size=512; the data is damaged"
    with (
        pytest.raises(OwnShareError, match=message),
        Loader(data_config(loader), VOCAB_SIZE, 0, CPU).open(damaged, stage, samples) as batches,
    ):
        for _ in batches:
            seen += 1
    assert seen <= 4, "the micro-batch of samples 8 and 9 is the fifth"


@pytest.mark.parametrize("loader", LOADERS)
def test_left_in_the_middle_it_stops_reading(blend: tuple[Dataset, Stage], loader: str) -> None:
    dataset, stage = blend
    counted, samples = Damaged(dataset), range(stage.num_samples)
    before = threading.active_count()
    with (
        pytest.raises(KeyboardInterrupt),
        Loader(data_config(loader), VOCAB_SIZE, 0, CPU).open(counted, stage, samples) as batches,
    ):
        next(batches)
        raise KeyboardInterrupt
    assert threading.active_count() <= before
    ahead = 1 + 2 * 2 + 1
    assert 0 < len(counted.read) <= ahead * stage.micro_batch_size
    assert list(batches) == []


@pytest.mark.slow
def test_a_run_on_damaged_data(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], prepared: Path, tmp_path: Path
) -> None:
    """Found by the one rank whose share it is in, in the middle of a stage."""
    data = shutil.copytree(prepared, tmp_path / "data")
    (part,) = load_manifest(load_config("danube_rehearsal", [*TINY, f"data.dir={data}"])).parts("stage1", "train")
    tokens = np.memmap(part.bin, dtype=part.dtype, mode="r+")
    # `verify_part` looks at documents between which there are others, as long as there are more than it looks at.
    tokens[int(open_index(part.idx).lengths[0]) + 1] = 60_000
    tokens.flush()
    done = danube(*tiny("run", "trainer.devices=2", f"data.dir={data}"))
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith("danube: ")]
    assert len(said) == 1
    assert said[0].startswith("danube: stage1: token id 60000 in samples ")
    assert "Traceback" not in done.stderr


def test_without_dali(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a process is started, and whether it is installed here or not."""
    (tmp_path / "path" / "nvidia" / "dali").mkdir(parents=True)
    (tmp_path / "path" / "nvidia" / "__init__.py").write_text("")
    (tmp_path / "path" / "nvidia" / "dali" / "__init__.py").write_text("raise ImportError('not here')\n")
    paths = [str(tmp_path / "path"), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
    refused = danube(*tiny("run", "trainer.devices=2", "data.loader=dali"))
    assert refused.returncode == 2
    assert re.fullmatch(r"danube: data\.loader=dali: .*\(not here\).*data\.loader=native\n", refused.stderr)
    assert not (tmp_path / "run").exists()


@pytest.fixture
def stopped_with_dali(tiny: Callable[..., list[str]]) -> Iterator[str]:
    """The name of a run that was stopped in the middle of its first stage."""
    process = start_danube(*tiny("stopped", "trainer.devices=2", "data.loader=dali"))
    assert process.stderr is not None
    assert any("step 5 " in line for line in process.stderr)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 75
    yield "stopped"


@needs_dali
@pytest.mark.slow
@pytest.mark.parametrize("loader", ["native", "dali"])
def test_a_run_with_dali_is_the_same_run(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], stopped_with_dali: str, tmp_path: Path, loader: str
) -> None:
    """Stopped, and gone on with either loader."""
    for name, chosen in (("alone", "native"), (stopped_with_dali, loader)):
        done = danube(*tiny(name, "trainer.devices=2", f"data.loader={chosen}"))
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "alone", tmp_path / stopped_with_dali)
