"""What a micro-batch says of its documents, beside megatron-core's own masks and positions of the same options."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import Dataset
from custom_modules.data.documents import CU_SEQLENS, Documents
from custom_modules.data.loader import Loader
from tests.data.test_loader import CPU, LOADERS
from tests.support.tiny import TINY, VOCAB_SIZE

END = 2
LENGTH = 32


class Windows(Dataset):
    """Windows whose documents end in all ways: nowhere, everywhere, at both edges, several times in a row."""

    PLACES = ((), tuple(range(LENGTH)), (0,), (LENGTH - 1,), (0, LENGTH - 1), (4, 5, 6, 20), (10,), (3, 17, 30))

    def __init__(self, texts: bool = False) -> None:
        alternatives = ("loss_mask", "alternative_tokens", "alternative_labels", "alternative_mask")
        self.fields = ("tokens", "labels", *(alternatives if texts else ()))

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        window = torch.randint(END + 1, VOCAB_SIZE, (LENGTH + 1,), generator=torch.Generator().manual_seed(index))
        window[list(self.PLACES[index % len(self.PLACES)])] = END
        sample = {"tokens": window[:-1], "labels": window[1:], "loss_mask": torch.ones(LENGTH)}
        rows = {name: torch.stack([sample[name]] * 2) for name in sample}
        return {**sample, **{f"alternative_{name.removeprefix('loss_')}": rows[name] for name in rows}}


@pytest.fixture
def stage() -> Stage:
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", "model.micro_batch_size=4"])
    return Curriculum.from_config(config).stages[0]


def batches(stage: Stage, documents: Documents | None, texts: bool = False) -> list[dict[str, Tensor]]:
    return list(micro_batches(Windows(texts), stage, 0, 16, 0, VOCAB_SIZE, documents))


@pytest.mark.parametrize("separate", [False, True])
@pytest.mark.parametrize("forget", [False, True])
def test_they_are_megatron_cores(stage: Stage, separate: bool, forget: bool) -> None:
    """Where documents don't see each other, positions may go on: nothing depends on them."""
    from megatron.core.datasets.gpt_dataset import _get_ltor_masks_and_position_ids

    for batch in batches(stage, Documents(END, separate, not separate, forget)):
        shape = batch["tokens"].shape
        expected = [
            _get_ltor_masks_and_position_ids(row, END, not separate, separate, forget, True) for row in batch["tokens"]
        ]
        hidden, loss_mask, positions = (torch.stack(each) for each in zip(*expected, strict=True))
        assert torch.equal(batch["position_ids"], positions)
        assert torch.equal(batch.get("loss_mask", torch.ones(shape)), loss_mask)
        assert (CU_SEQLENS in batch) == separate
        if separate:
            boundaries = batch[CU_SEQLENS]
            assert boundaries.dtype == torch.int32
            assert boundaries[0] == 0 and boundaries[-1] == shape.numel()
            number = torch.repeat_interleave(torch.arange(len(boundaries) - 1), boundaries.diff()).view(shape)
            seen = (number[:, :, None] == number[:, None]) & torch.ones(LENGTH, LENGTH).tril().bool()
            assert torch.equal(seen, ~hidden[:, 0])
            assert len(set(number[:, 0].tolist())) == shape[0], "no document goes on in another row"


def test_without_them_a_batch_is_what_it_was(stage: Stage) -> None:
    for batch in batches(stage, None):
        assert batch.keys() == {"tokens", "labels", "position_ids"}


def test_a_row_with_teachers_texts_is_one_document(stage: Stage) -> None:
    """What fills it up behind its end counts nowhere, and it begins with the row."""
    documents = Documents(END, separate=True, restart=False, forget=True)
    for one, other in zip(batches(stage, documents, texts=True), batches(stage, None, texts=True), strict=True):
        assert one.keys() == other.keys()
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.parametrize("loader", LOADERS)
@pytest.mark.parametrize("separate", [False, True])
def test_every_loader_gives_them(stage: Stage, loader: str, separate: bool) -> None:
    config = load_config("danube_rehearsal", [f"data.loader={loader}"])
    documents = Documents(END, separate, not separate, forget=True)
    stage = dataclasses.replace(stage, micro_batch_size=2)
    with Loader(config.data, VOCAB_SIZE, 0, CPU, documents).open(Windows(), stage, range(16)) as opened:
        found = list(opened)
    expected = batches(stage, documents)
    assert len(found) == len(expected) == 8
    for one, other in zip(found, expected, strict=True):
        assert one.keys() == other.keys()
        for name, tensor in one.items():
            assert tensor.dtype == other[name].dtype
            assert torch.equal(tensor, other[name]), name


def test_data_without_an_end_of_text_is_refused(
    danube: Callable[..., subprocess.CompletedProcess[str]],
    tiny: Callable[..., list[str]],
    prepared: Path,
    tmp_path: Path,
) -> None:
    data = shutil.copytree(prepared, tmp_path / "data")
    manifest = json.loads((data / "manifest.json").read_text())
    manifest["tokenizer"]["eos_id"] = -1
    (data / "manifest.json").write_text(json.dumps(manifest))
    refused = danube(*tiny("run", "trainer.devices=1", f"data.dir={data}", "data.eod_mask_loss=true"))
    assert refused.returncode == 2
    [line] = [line for line in refused.stderr.splitlines() if line.startswith("danube: ")]
    assert line.startswith(f"danube: data.eod_mask_loss=true: the data in data.dir={data} has no end of text")
