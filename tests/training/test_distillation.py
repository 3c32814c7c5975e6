"""A distilled step trains on the smallest of the cross-entropies, however its batch is split."""

from __future__ import annotations

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules.errors import DivergedError, UserError
from tests.support.commands import free_ports
from tests.support.distilled_batches import (
    MIXED,
    NAMES,
    SEQUENCE,
    TOKEN,
    Distilled,
    compare_with_dense,
    config_of,
    first_batch,
    objective_by_hand,
)
from tests.support.ranks import run_ranks

ALONE, PAIR = "trainer.devices=1", "trainer.devices=2"
WHOLE = [ALONE, "model.micro_batch_size=16"]
SECTIONS = {"sequence": SEQUENCE, "token": TOKEN, "mixed": MIXED}
ONE_PROCESS = {
    "whole": WHOLE,
    "micro-batches of 1": [ALONE, "model.micro_batch_size=1"],
    "chunked loss": [ALONE, "model.micro_batch_size=4", "model.cross_entropy_chunk_size=24"],
}
TENSOR = [PAIR, "model.tensor_model_parallel_size=2", "model.micro_batch_size=4"]
TWO_PROCESSES = {
    "data parallel": [PAIR],
    "FSDP": [PAIR, "model.fsdp=true"],
    "context parallel": [PAIR, "model.context_parallel_size=2"],
    "tensor parallel": TENSOR,
    "tensor parallel, chunked loss": [*TENSOR, "model.sequence_parallel=true", "model.cross_entropy_chunk_size=24"],
    "pipeline": [PAIR, "model.pipeline_model_parallel_size=2"],
    "virtual pipeline": [PAIR, "model.pipeline_model_parallel_size=2", "model.virtual_pipeline_model_parallel_size=2"],
}
ALL = (*ONE_PROCESS, *TWO_PROCESSES)
SPLITS = {
    "sequence": ALL,
    "token": ("whole", "context parallel", "tensor parallel, chunked loss"),
    "mixed": tuple(name for name in ALL if name not in ("data parallel", "tensor parallel")),
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """All runs, by what the minimum is of and the way their batches were split."""
    from tests.support.distilled_batches import train
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("distilled")
    found = {(kind, split): folder / kind / split for kind in SECTIONS for split in SPLITS[kind]}
    for size, splits in ((1, ONE_PROCESS), (2, TWO_PROCESSES)):
        work = [
            (found[kind, split], [SECTIONS[kind], *splits[split]])
            for kind in SECTIONS
            for split in SPLITS[kind]
            if split in splits
        ]
        run_ranks(train_in_turn, (size, free_ports(len(work)), work, train), size)
    return found


def read(folder: Path) -> Any:
    return json.loads((folder / "found.json").read_text())


@pytest.mark.parametrize(("kind", "split"), [(kind, name) for kind in SECTIONS for name in SPLITS[kind]])
@pytest.mark.slow
def test_any_split_of_a_batch_is_the_same_step(folders: dict[tuple[str, str], Path], kind: str, split: str) -> None:
    """Losses, objectives, wins and gradient norms, of distilled steps and of the plain one and the evaluation after
    them, which depend on every weight."""
    whole, parts = read(folders[kind, "whole"]), read(folders[kind, split])
    assert [step["distilled"] is None for step in whole["steps"]] == [False, False, True]
    for expected, found in zip(whole["steps"], parts["steps"], strict=True):
        of_teachers, here = expected.pop("distilled"), found.pop("distilled")
        # The first step's rounding is in the gradients of the next.
        assert found == pytest.approx(expected, rel=1e-5)
        assert (of_teachers is None) == (here is None)
        if of_teachers:
            assert here["objective"] == pytest.approx(of_teachers["objective"], rel=1e-6)
            assert here["wins"] == of_teachers["wins"]
    assert parts["steps"][0] == pytest.approx(whole["steps"][0], rel=1e-6)
    mean = [sum(mean * tokens for mean, tokens in run["losses"]) for run in (parts, whole)]
    assert mean[0] == pytest.approx(mean[1], rel=1e-6)


@pytest.mark.parametrize("kind", SECTIONS)
@pytest.mark.slow
def test_the_step_is_that_of_the_smallest(
    folders: dict[tuple[str, str], Path], kind: str, single_process: None
) -> None:
    """The objective, the ground truth's loss, wins and the gradient's norm, by dense distributions and autograd."""
    from custom_modules.model.build import build_model

    config = config_of(SECTIONS[kind], *WHOLE)
    model = build_model(config)
    objective, own, wins = objective_by_hand(model, first_batch(config), "token" if kind == "token" else "sequence")
    norm = math.sqrt(sum(grad.square().sum() for grad in torch.autograd.grad(objective, list(model.parameters()))))
    step = read(folders[kind, "whole"])["steps"][0]
    assert step["loss"] == pytest.approx(own, rel=1e-6)
    assert step["grad_norm"] == pytest.approx(norm, rel=1e-6)
    assert step["distilled"]["objective"] == pytest.approx(objective.item(), rel=1e-6)
    shares = dict(zip(NAMES, (won / sum(wins) for won in wins), strict=True))
    assert step["distilled"]["wins"] == pytest.approx({name: shares[name] for name in step["distilled"]["wins"]})
    assert sum(won > 0 for won in wins) >= min(4, len(step["distilled"]["wins"])), "each, or but for one"
    assert objective.item() < own


@pytest.mark.slow
def test_tensor_parallel_ranks_have_the_same_losses() -> None:
    run_ranks(compare_in_two, free_ports(1), 2)


def compare_in_two(rank: int, port: int) -> None:
    from custom_modules.platform import Platform
    from custom_modules.platform.world import World

    config = config_of(SEQUENCE, *TENSOR)
    with Platform.detect(config, World(rank, 2, rank, "127.0.0.1", port, "torchrun")).running(config):
        compare_with_dense(SEQUENCE, rank, 2)


def test_losses_and_gradients_are_those_of_whole_distributions(single_process: None) -> None:
    compare_with_dense(SEQUENCE, 0, 1)


def test_a_plain_batch_is_trained_as_without_teachers(single_process: None) -> None:
    """Bit for bit, and validation too."""
    from tests.support.engines import small

    plain, with_teachers = small(), small(SEQUENCE)
    assert with_teachers.train(2) == plain.train(2)
    weights = plain.weights()
    assert all(torch.equal(weight, weights[name]) for name, weight in with_teachers.weights().items())


def test_what_is_no_number_is_not_passed_over(single_process: None) -> None:
    """One probability among all of a step's; the ground truth's loss is a number there."""
    from tests.support.engines import small

    for section in SECTIONS.values():
        model = small(section)
        stage = model.stages[0]
        batches = list(islice(iter_batches(Distilled(stage.seq_length, section == MIXED), stage), 8))
        batches[3]["teacher_probabilities"][1, 20, 0, 2] = math.nan
        if section == MIXED:
            batches[3]["loss_mask"][:] = 1
        weights = model.weights()
        with pytest.raises(DivergedError, match=r"^objective=nan: not finite$"):
            model.engine.train_step(iter(batches), stage)
        assert all(torch.equal(weight, weights[name]) for name, weight in model.weights().items())


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ([SEQUENCE, "objective=masked"], r"objective=masked: distillation\.teachers are targets beside those of"),
        (
            [MIXED, "distillation.minimum_over=token"],
            r"distillation\.minimum_over=token: .*distillation\.teachers\.ash\.targets=text",
        ),
    ],
)
def test_what_has_no_minimum_is_refused(overrides: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from custom_modules.objective import OBJECTIVES, build_objective
    from tests.support.splits import Masked

    monkeypatch.setitem(OBJECTIVES, "masked", Masked)
    with pytest.raises(UserError, match=message):
        build_objective(config_of(*overrides))


def test_a_dry_run_has_a_distilled_micro_batch(single_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every stage, beside a plain one, with all that a sample of such a batch has."""
    from custom_modules.data.batches import Batch
    from custom_modules.platform import Platform
    from custom_modules.training.dry_run import dry_run
    from tests.support.engines import small

    for section in (SEQUENCE, MIXED):
        model, passed = small(section), list[Batch]()
        run = model.engine.forward_backward

        def reading(batches: Any, stage: Any, count: int, run: Any = run, passed: list[Batch] = passed) -> Any:
            batch = next(batches)
            passed.append(batch)
            return run(iter([batch]), stage, count)

        monkeypatch.setattr(model.engine, "forward_backward", reading)
        weights = model.weights()
        dry_run(model.engine, model.stages, Platform.detect(model.engine.config), 0, lambda line: None)
        assert len(passed) == 2 * len(model.stages)
        for plain, distilled, stage in zip(passed[::2], passed[1::2], model.stages, strict=True):
            assert "teacher_ids" not in plain
            expected = next(iter_batches(Distilled(stage.seq_length, section == MIXED), stage))
            shapes = [{name: (t.shape, t.dtype) for name, t in batch.items()} for batch in (distilled, expected)]
            assert shapes[0] == shapes[1]
        assert all(torch.equal(weight, weights[name]) for name, weight in model.weights().items())


def iter_batches(dataset: Distilled, stage: Any) -> Any:
    from custom_modules.data.batches import micro_batches
    from tests.support.tiny import VOCAB_SIZE

    return micro_batches(dataset, stage, 0, stage.num_samples, 0, VOCAB_SIZE)
