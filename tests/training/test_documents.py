"""Runs whose documents don't see each other, or whose ends are followed by what is not learnt."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from tests.support.commands import free_ports
from tests.support.ranks import run_ranks
from tests.support.runs import assert_same_run, read_metrics
from tests.support.tiny import VOCAB_SIZE

SEPARATE, RESTART, FORGET = (
    f"data.{key}=true" for key in ("reset_attention_mask", "reset_position_ids", "eod_mask_loss")
)
END = 0
LOKI = ["model.architecture=lokilm", "model.sliding_window=null"]
TWO = ["trainer.devices=2", "objective=next_token", FORGET]
DIVIDED = {
    "tensor": ["model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": ["model.pipeline_model_parallel_size=2"],
}
LAYOUTS = {
    "separate": {
        "data": [],
        **DIVIDED,
        "fsdp": ["model.fsdp=true"],
        "interleaved": [*DIVIDED["pipeline"], "model.virtual_pipeline_model_parallel_size=2"],
        "larger micro-batches in chunks": ["model.micro_batch_size=4", "model.cross_entropy_chunk_size=24"],
        "recomputed": ["model.activations_checkpoint_granularity=full"],
        "attention recomputed": [
            "model.activations_checkpoint_granularity=selective",
            "model.recompute_modules=[core_attn,mlp]",
        ],
    },
    "alibi": {"data": [], **DIVIDED},
    "restart": {"data": [], "tensor": DIVIDED["tensor"], "context": ["model.context_parallel_size=2"]},
}
KINDS = {"separate": [SEPARATE], "alibi": [SEPARATE, *LOKI], "restart": [RESTART]}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], dict[str, Any]]:
    """The steps of a layout, and the losses of its micro-batches."""
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("layouts")
    work = [
        (folder / kind / name, [*TWO, *KINDS[kind], *layout])
        for kind in KINDS
        for name, layout in LAYOUTS[kind].items()
    ]
    run_ranks(train_in_turn, (2, free_ports(len(work)), work), 2)
    return lambda kind, name: json.loads((folder / kind / name / "found.json").read_text())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "layout"), [(kind, name) for kind in KINDS for name in LAYOUTS[kind] if name != "data"]
)
def test_every_layout_makes_the_same_steps(found: Callable[[str, str], dict[str, Any]], kind: str, layout: str) -> None:
    expected, other = found(kind, "data"), found(kind, layout)
    assert len(expected["steps"]) == 3
    for one, two in zip(expected["steps"], other["steps"], strict=True):
        assert two == pytest.approx(one, rel=1e-6)
    losses, tokens = (
        [sum(part) for part in zip(*((mean * count, count) for mean, count in run["losses"]), strict=True)]
        for run in (expected, other)
    )
    assert tokens == pytest.approx(losses, rel=1e-6)
    assert losses[1] < 512, "an end's next token is not scored"


class Ends(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Random windows with ends: in every fourth none, in every fifth nothing else, which nothing is learnt of."""

    def __init__(self, seq_length: int) -> None:
        self.seq_length = seq_length

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        window = torch.randint(END + 1, VOCAB_SIZE, (self.seq_length + 1,), generator=generator)
        share = 0.0 if index % 4 == 0 else 0.2
        window[torch.rand(len(window), generator=generator) < (1.0 if index % 5 == 0 else share)] = END
        return {"tokens": window[:-1], "labels": window[1:]}


def alone(model: Any) -> Callable[..., Tensor]:
    """A model, ``[b, s]`` tokens -> ``[b, s, v]``, that is given one document at a time."""

    def logits(tokens: Tensor, position_ids: Tensor, mask: None) -> Tensor:
        rows = []
        for row in tokens:
            begins = [0, *((row[:-1] == END).nonzero().flatten() + 1).tolist(), len(row)]
            parts = [row[None, begin:end] for begin, end in pairwise(begins)]
            rows.append(torch.cat([model(part, torch.arange(part.shape[1])[None], None) for part in parts], dim=1))
        return torch.cat(rows)

    return logits


def batches_of(engine: Any, stage: Any, dataset: Any) -> Iterator[dict[str, Tensor]]:
    from custom_modules.data.batches import micro_batches
    from custom_modules.data.documents import random_documents

    return micro_batches(dataset, stage, 0, stage.num_samples, 0, VOCAB_SIZE, random_documents(engine.config))


@pytest.mark.parametrize("model", [[], LOKI])
def test_a_step_is_that_of_documents_alone(single_process: None, model: list[str]) -> None:
    """Loss and gradient are over the tokens of the step whose input is no end, in micro-batches of any size."""
    from custom_modules.model.build import build_model
    from tests.support.engines import small

    steps = []
    for size in (1, 4):
        engine, stage = (one := small(*model, SEPARATE, FORGET, f"model.micro_batch_size={size}")).engine, one.stages[0]
        steps.append(engine.train_step(batches_of(engine, stage, Ends(stage.seq_length)), stage))
    reference = build_model(engine.config)
    samples = [Ends(stage.seq_length)[index] for index in range(stage.global_batch_size)]
    tokens, labels = (torch.stack([sample[name] for sample in samples]) for name in ("tokens", "labels"))
    logits = alone(reference)(tokens, tokens, None)
    counts = tokens != END
    loss = cross_entropy(logits[counts], labels[counts])
    gradients = torch.autograd.grad(loss, list(reference.parameters()))
    norm = math.sqrt(sum(gradient.square().sum() for gradient in gradients))
    for step in steps:
        assert (step.loss, step.grad_norm) == pytest.approx((loss.item(), norm), rel=2e-6)


def test_a_step_with_nothing_to_learn_is_no_number_and_says_so(single_process: None) -> None:
    from custom_modules.errors import DivergedError
    from tests.support.engines import small

    engine, stages = (model := small(SEPARATE, FORGET)).engine, model.stages
    batch = next(batches_of(engine, stages[0], Ends(stages[0].seq_length)))
    nothing = {
        **batch,
        "tokens": torch.full_like(batch["tokens"], END),
        "loss_mask": torch.zeros(batch["tokens"].shape),
    }
    assert [tuple(found) for found in engine.evaluate(iter([nothing]), stages[0], 1)] == [(0.0, 0)]
    weights = model.weights()
    with pytest.raises(DivergedError, match="no token of the step counts"):
        engine.train_step(iter([nothing] * stages[0].num_microbatches), stages[0])
    assert all(torch.equal(weight, weights[name]) for name, weight in model.weights().items())


def test_a_distilled_step_is_that_of_documents_alone(single_process: None) -> None:
    from custom_modules.model.build import build_model
    from tests.support.distilled_batches import NAMES, SEQUENCE, Distilled, objective_by_hand
    from tests.support.engines import small

    engine, stages = (model := small(SEQUENCE, SEPARATE, FORGET)).engine, model.stages
    every = list(batches_of(engine, stages[0], Distilled(stages[0].seq_length)))[: stages[0].num_microbatches]
    step = engine.train_step(iter(every), stages[0])
    whole = {name: torch.cat([batch[name] for batch in every]) for name in every[0] if name != "cu_seqlens"}
    assert (whole["loss_mask"] == 0).any()
    objective, own, wins = objective_by_hand(alone(build_model(engine.config)), whole, "sequence")
    assert step.loss == pytest.approx(own, rel=1e-6)
    assert step.distilled and step.distilled.objective == pytest.approx(objective.item(), rel=1e-6)
    shares = dict(zip(NAMES, (won / sum(wins) for won in wins), strict=True))
    assert step.distilled.wins == pytest.approx({name: shares[name] for name in step.distilled.wins})


def test_a_dry_run_has_packed_micro_batches(single_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from custom_modules.data.batches import Batch
    from custom_modules.platform import Platform
    from custom_modules.training.dry_run import dry_run
    from tests.support.engines import small

    model, passed = small(SEPARATE), list[Batch]()
    run = model.engine.forward_backward

    def reading(batches: Any, stage: Any, count: int) -> Any:
        passed.append(next(batches))
        return run(iter(passed[-1:]), stage, count)

    monkeypatch.setattr(model.engine, "forward_backward", reading)
    dry_run(model.engine, model.stages, Platform.detect(model.engine.config), 0, lambda line: None)
    assert [int(batch["cu_seqlens"][-1]) for batch in passed] == [2 * stage.seq_length for stage in model.stages]


@pytest.mark.slow
def test_a_run_goes_on_as_if_it_had_not_stopped_and_with_the_same_keys(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    """Documents are shorter than the longer stage's windows, and longer than the shorter one's."""
    asked = ["trainer.devices=2", "model.pipeline_model_parallel_size=2", SEPARATE, FORGET]
    for arguments in (
        tiny("whole", *asked),
        tiny("stopped", *asked, "curriculum.stage=stage1"),
        tiny("stopped", *asked),
        tiny("seen", "trainer.devices=1", FORGET),
    ):
        done = danube(*arguments)
        assert done.returncode == 0, done.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    separate, seen = (read_metrics(tmp_path / name) for name in ("whole", "seen"))
    assert separate[0]["loss"] != pytest.approx(seen[0]["loss"], rel=1e-6)
    for key in (SEPARATE, RESTART, FORGET):
        name = key.partition("=")[0]
        now = "true" if key == RESTART else "false"
        refused = danube(*tiny("whole", *asked, f"{name}={now}"))
        assert refused.returncode == 2
        was = "False -> True" if key == RESTART else "True -> False"
        assert f"the config contradicts the checkpoint (checkpoint -> config): {name}: {was};" in refused.stderr
