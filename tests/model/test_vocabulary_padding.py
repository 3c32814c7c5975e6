"""Rows that pad the vocabulary change nothing: not the loss, no gradient, whatever the layout adds of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.support.commands import free_ports
from tests.support.ranks import run_ranks
from tests.support.runs import checkpoints, tensors
from tests.support.vocabulary import VOCAB_SIZE, leave_gradients

CHUNKS = ["model.cross_entropy_chunk_size=24"]
NONE = ["model.make_vocab_size_divisible_by=1"]
ROWS = ("embedding.word_embeddings.weight", "output_layer.weight")


def divided(devices: int, tensor: int = 1, *overrides: str) -> list[str]:
    return [f"trainer.devices={devices}", f"model.tensor_model_parallel_size={tensor}", *overrides]


LAYOUTS = {
    "alone": divided(1),
    "alone, in chunks": divided(1, 1, *CHUNKS),
    "to 640": divided(1, 1, "model.make_vocab_size_divisible_by=640"),
    "data parallel": divided(2),
    "data parallel, in chunks": divided(2, 1, *CHUNKS),
    "tensor parallel": divided(2, 2),
    "tensor parallel, in chunks": divided(2, 2, *CHUNKS),
    "sequence parallel, in chunks": divided(2, 2, "model.sequence_parallel=true", *CHUNKS),
    "tensor parallel of 4": divided(4, 4),
    "tensor parallel of 4, in chunks": divided(4, 4, *CHUNKS),
    "tensor parallel of 4, no other": divided(4, 4, *NONE),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for each layout, and one for a vocabulary that nothing is added to."""
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("layouts")
    runs = {"whole": divided(1, 1, *NONE), **LAYOUTS}
    for size in (1, 2, 4):
        work = [(folder / name, run) for name, run in runs.items() if f"trainer.devices={size}" in run]
        arguments = (size, free_ports(len(work)), work, leave_gradients)
        run_ranks(train_in_turn, arguments, size)
    return folder


def found(folder: Path) -> tuple[float, dict[str, Tensor]]:
    gradients = tensors(checkpoints(folder)[-1])
    return json.loads((folder / "loss.json").read_text()), {
        name: tensor for name, tensor in gradients.items() if not name.startswith("optimizer.")
    }


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_loss_and_gradients_are_those_of_the_vocabulary_alone(layout: str, folder: Path) -> None:
    """In fp32, to 1e-6 of the largest of a tensor; gradients of the rows that no token has are 0 exactly."""
    loss, gradients = found(folder / "whole")
    other_loss, others = found(folder / layout)
    assert other_loss == pytest.approx(loss, rel=1e-6)
    assert len(gradients) == 9 and gradients.keys() == others.keys()
    for name, gradient in gradients.items():
        other = others[name]
        if name in ROWS:
            assert gradient.shape[0] == VOCAB_SIZE
            assert (other.shape[0] > VOCAB_SIZE) == ("no other" not in layout)
            assert (other[VOCAB_SIZE:] == 0).all(), name
            other = other[:VOCAB_SIZE]
        assert (other - gradient).abs().max() <= 1e-6 * gradient.abs().max(), name


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("overrides", [[], CHUNKS], ids=["plain", "chunks"])
def test_padding_has_no_probability_and_is_never_trained(
    precision: str, overrides: list[str], single_process: None
) -> None:
    """Whatever its rows hold."""
    from tests.support.engines import small

    model = small(f"model.vocab_size={VOCAB_SIZE}", f"trainer.precision={precision}", *overrides)
    whole = small(f"model.vocab_size={VOCAB_SIZE}", f"trainer.precision={precision}", *overrides, *NONE)
    [gpt] = model.engine.chunks
    with torch.no_grad():
        gpt.output_layer.weight[VOCAB_SIZE:] = 3.0
    model.engine.optimizer.reload_model_params()
    stage = model.stages[0]
    batches, same = iter(model.batches(stage)), iter(whole.batches(stage))
    for _ in range(3):
        result, expected = model.engine.train_step(batches, stage), whole.engine.train_step(same, stage)
        assert result.loss == pytest.approx(expected.loss, rel=1e-6 if precision == "32-true" else 1e-4)
        assert result.grad_norm == pytest.approx(expected.grad_norm, rel=1e-5 if precision == "32-true" else 1e-2)
        for name in ROWS:
            assert (gpt.get_parameter(name).main_grad[VOCAB_SIZE:] == 0).all(), name
    tokens = torch.arange(64).view(2, 32)
    with torch.no_grad():
        logits = gpt(tokens, tokens, None).float()
    assert logits.shape[-1] == 384 and logits.isfinite().all()
    assert (logits.softmax(dim=-1)[..., VOCAB_SIZE:] == 0).all()
    assert (gpt.embedding.word_embeddings.weight[VOCAB_SIZE:] == 0).all()
    assert (gpt.output_layer.weight[VOCAB_SIZE:] <= 3).all(), "weight decay alone"


def test_an_objective_of_logits_sees_none_of_it_either(single_process: None) -> None:
    """Its own softmax over all columns is that over the vocabulary."""
    from tests.support.engines import small
    from tests.support.splits import Masked, MaskedLogits

    losses = []
    for objective in (Masked, MaskedLogits):
        model = small(f"model.vocab_size={VOCAB_SIZE}")
        model.engine.objective = objective(model.engine.config)
        stage = model.stages[0]
        sums = model.engine.forward_backward(iter(model.batches(stage)), stage, stage.num_microbatches)
        losses.append(sum(loss.item() for loss, _ in sums) / sum(tokens.item() for _, tokens in sums))
        assert (model.engine.chunks[0].output_layer.weight.main_grad[VOCAB_SIZE:] == 0).all()
    assert losses[1] == pytest.approx(losses[0], rel=1e-6)


def test_nothing_is_added_where_nothing_is_padded(single_process: None) -> None:
    from tests.support.engines import small

    assert not small().engine.chunks[0].output_layer._forward_hooks
