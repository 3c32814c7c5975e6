"""The loss in chunks is the loss, with one chunk's logits at a time."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from custom_modules.platform.launch import free_port
from tests.support.ranks import run_ranks
from tests.support.runs import read_metrics
from tests.support.tiny import VOCAB_SIZE

CHUNK = "model.cross_entropy_chunk_size"


def main_grads(overrides: list[str], stage: int) -> tuple[float, dict[str, Tensor]]:
    """The loss of a first step, and the gradients that DDP has gathered of its micro-batches."""
    from tests.support.engines import small

    model = small(*overrides)
    result = model.engine.train_step(iter(model.batches(model.stages[stage])), model.stages[stage])
    return result.loss, {name: weight.main_grad for name, weight in model.engine.chunks[0].named_parameters()}


@pytest.mark.parametrize(("size", "stage"), [(32, 0), (10, 0), (24, 1), (100, 1)])
@pytest.mark.slow
def test_loss_and_gradients(single_process: None, size: int, stage: int) -> None:
    """Micro-batches of 64 and 128 tokens in two sequences, in equal chunks and with a rest."""
    loss, gradients = main_grads([], stage)
    chunked_loss, chunked = main_grads([f"{CHUNK}={size}"], stage)
    assert chunked_loss == pytest.approx(loss, rel=1e-6)
    for name, gradient in gradients.items():
        torch.testing.assert_close(chunked[name], gradient, rtol=1e-4, atol=1e-7, msg=name)


def test_gradients_in_bf16(single_process: None) -> None:
    bf16 = "trainer.precision=bf16-mixed"
    loss, gradients = main_grads([bf16], 0)
    chunked_loss, chunked = main_grads([bf16, f"{CHUNK}=16"], 0)
    assert chunked_loss == pytest.approx(loss, rel=1e-4)
    for name, gradient in gradients.items():
        assert (chunked[name] - gradient).norm() <= 0.02 * gradient.norm(), name


def test_one_chunk_is_the_same_bit_for_bit(single_process: None) -> None:
    from tests.support.engines import small

    plain, chunked = small(), small(f"{CHUNK}=128")
    assert chunked.train(2) == plain.train(2)
    weights = plain.weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in chunked.weights().items())


class LargestLogits(TorchDispatchMode):
    """The most rows of vocabulary size that any result had."""

    rows = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            # The head's transposed weight is [hidden size, vocabulary size].
            if isinstance(tensor, Tensor) and tensor.shape[-1:] == (VOCAB_SIZE,) and tensor.shape != (32, VOCAB_SIZE):
                self.rows = max(self.rows, tensor.numel() // VOCAB_SIZE)
        return result


@pytest.mark.parametrize(("overrides", "rows"), [([], 64), ([f"{CHUNK}=10"], 10)])
def test_logits_of_one_chunk_at_a_time(single_process: None, overrides: list[str], rows: int) -> None:
    """Forward and backward, and in validation; the head's gradient is complete once per micro-batch, as DDP counts."""
    from tests.support.engines import small

    model = small(*overrides)
    stage = model.stages[0]
    complete = []
    model.engine.chunks[0].output_layer.weight.register_hook(lambda gradient: complete.append(gradient.shape))
    with LargestLogits() as training:
        model.engine.train_step(iter(model.batches(stage)), stage)
    with LargestLogits() as validation:
        model.engine.evaluate(iter(model.batches(stage)), stage, 1)
    assert (training.rows, validation.rows) == (rows, rows)
    assert len(complete) == stage.num_microbatches


def test_logits_without_labels_are_all_there(single_process: None) -> None:
    from tests.support.engines import small

    plain, chunked = small().engine.chunks[0], small(f"{CHUNK}=8").engine.chunks[0]
    tokens = torch.arange(64).view(2, 32)
    with torch.no_grad():
        assert torch.equal(chunked(tokens, tokens, None), plain(tokens, tokens, None))
    assert plain.state_dict().keys() == chunked.state_dict().keys()


@pytest.mark.slow
def test_with_tensor_parallelism(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    tensor = ["trainer.devices=2", "model.tensor_model_parallel_size=2"]
    for name, overrides in {"plain": [], "chunked": [f"{CHUNK}=24"]}.items():
        done = danube(*tiny(name, *tensor, *overrides), timeout=300)
        assert done.returncode == 0, done.stderr
    for kind, keys in (("train", ("loss", "grad_norm")), ("validation", ("loss",))):
        expected, found = (read_metrics(tmp_path / name, kind) for name in ("plain", "chunked"))
        for one, other in zip(expected, found, strict=True):
            assert [other[key] for key in keys] == pytest.approx([one[key] for key in keys], rel=1e-5)


@pytest.mark.slow
def test_with_sequence_parallelism() -> None:
    """The rows are gathered once, and the gradients of them reduced once."""
    from tests.support.sequence_parallel import compare_chunks

    port = free_port()
    run_ranks(compare_chunks, (port,), 2)
