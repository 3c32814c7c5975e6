"""Runs whose documents don't see each other, against Hugging Face's model of the same weights on each by itself."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from custom_modules.data.index import open_index
from tests.support.runs import checkpoints, read_metrics

LENGTH, SEQUENCES, EOS_ID = 128, 8, 2
TWO_STEPS = [
    "~curriculum.stages.stage2",
    f"curriculum.stages.stage1={{tokens: {2 * SEQUENCES * LENGTH}, encoder_seq_length: {LENGTH}}}",
    f"model.global_batch_tokens={SEQUENCES * LENGTH}",
    f"model.micro_batch_size={SEQUENCES}",
    "model.init_method_std=0.3",
    "trainer.devices=1",
    "trainer.peak_tflops=1",
    "exp_manager.checkpoint_callback_params.every_n_train_tokens=1024",
]
"""A checkpoint after the first, so that the second's loss is of weights that can be exported."""
APART = "data.reset_attention_mask=true"
WITHOUT_FIRST = "data.eod_mask_loss=true"
ANEW = "data.reset_position_ids=true"

Run = Callable[..., Path]


@pytest.fixture
def run(danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path) -> Run:
    """Trains the two steps, and returns the run's folder."""

    def trained(name: str, *overrides: str) -> Path:
        done = danube(*tiny(name, *TWO_STEPS, *overrides))
        assert done.returncode == 0, done.stderr
        return tmp_path / name

    return trained


def losses(run_dir: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run_dir)]


def samples_of_second_step(run_dir: Path, data: Path) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield each sample's ids, int64 ``[LENGTH + 1]``, and the document of each, by megatron-core's own index."""
    [documents], [begins], [order] = (
        [np.load(path) for path in run_dir.rglob(f"*-GPTDataset-train-{kind}_index.npy")]
        for kind in ("document", "sample", "shuffle")
    )
    index = open_index(data / "stage1/text_train.idx")
    ids = np.fromfile(data / "stage1/text_train.bin", index.dtype).astype(np.int64)
    for place in order[SEQUENCES : 2 * SEQUENCES]:
        first, skipped = begins[place].tolist()
        spans = [slice(*index.boundaries(number, number + 1).tolist()) for number in documents[first:].tolist()]
        stream = np.concatenate([ids[span] for span in spans])
        owners = np.concatenate([np.full(span.stop - span.start, number) for number, span in enumerate(spans)])
        sample = slice(skipped, skipped + LENGTH + 1)
        yield torch.from_numpy(stream[sample]), torch.from_numpy(owners[sample])


def hugging_face(danube: Any, run_dir: Path) -> Any:
    """Export the first checkpoint."""
    from transformers import MistralForCausalLM

    [first, _] = checkpoints(run_dir)
    done = danube("convert", "to-hf", str(first), str(run_dir / "hf"), "--dtype", "fp32")
    assert done.returncode == 0, done.stderr
    return MistralForCausalLM.from_pretrained(run_dir / "hf", dtype=torch.float32).eval()


@torch.no_grad()
def losses_of(model: Any, tokens: Tensor, labels: Tensor, **options: Any) -> Tensor:
    """Return the loss of each token of one text, fp32 ``[tokens]``."""
    [logits] = model(tokens[None], **options).logits
    return F.cross_entropy(logits, labels, reduction="none")


def each_by_itself(model: Any, ids: Tensor, owners: Tensor) -> Tensor:
    """Return the losses of a sample where the model sees one document at a time."""
    _, lengths = owners[:-1].unique_consecutive(return_counts=True)
    texts = zip(ids[:-1].split(lengths.tolist()), ids[1:].split(lengths.tolist()), strict=True)
    return torch.cat([losses_of(model, *text) for text in texts])


@pytest.mark.parametrize("overrides", [[APART], [APART, WITHOUT_FIRST]])
def test_the_loss_is_that_of_each_document_by_itself(
    danube: Any, tiny: Callable[..., list[str]], run: Run, prepared: Path, overrides: list[str]
) -> None:
    run_dir = run("run", *overrides)
    model = hugging_face(danube, run_dir)
    samples = list(samples_of_second_step(run_dir, prepared))
    assert sum(len(owners.unique()) for _, owners in samples) > 1.5 * SEQUENCES
    apart = torch.cat([each_by_itself(model, *sample) for sample in samples])
    together = torch.cat([losses_of(model, ids[:-1], ids[1:]) for ids, _ in samples])
    counts = torch.cat([ids[:-1] != EOS_ID for ids, _ in samples]) | (WITHOUT_FIRST not in overrides)
    assert losses(run_dir)[1] == pytest.approx(float(apart[counts].mean()), rel=1e-5)
    assert abs(float(together[counts].mean() / apart[counts].mean()) - 1) > 1e-4
    planned = danube("plan", "--json", *tiny("run", *TWO_STEPS, *overrides)[1:]).stdout
    [stage] = json.loads(planned)["stages"]
    assert stage["seen"]["share"] < 0.9
    for line in read_metrics(run_dir):
        assert line["mfu"] == pytest.approx(stage["flops_per_token"] * line["tokens_per_second"] / 1e12)
    if WITHOUT_FIRST in overrides:
        ranks = run("ranks", *overrides, "trainer.devices=2", "model.micro_batch_size=1")
        assert losses(ranks) == pytest.approx(losses(run_dir), rel=1e-5)


def test_positions_alone_begin_anew(danube: Any, run: Run, prepared: Path) -> None:
    run_dir = run("run", ANEW)
    model = hugging_face(danube, run_dir)
    found = []
    for ids, owners in samples_of_second_step(run_dir, prepared):
        _, lengths = owners[:-1].unique_consecutive(return_counts=True)
        places = torch.cat([torch.arange(length) for length in lengths.tolist()])
        everything = torch.ones(1, LENGTH, dtype=torch.int64)  # else transformers takes such positions for a mask
        found.append(losses_of(model, ids[:-1], ids[1:], position_ids=places[None], attention_mask=everything))
    assert losses(run_dir)[1] == pytest.approx(float(torch.cat(found).mean()), rel=1e-5)
    untouched = torch.cat([losses_of(model, ids[:-1], ids[1:]) for ids, _ in samples_of_second_step(run_dir, prepared)])
    assert abs(float(untouched.mean()) - losses(run_dir)[1]) > 1e-4
