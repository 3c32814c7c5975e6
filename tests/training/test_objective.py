"""Whatever the objective leaves out, a step is that of the mean over all tokens of its batch that count."""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.errors import DivergedError, UserError
from custom_modules.objective import OBJECTIVES
from tests.support.commands import free_ports
from tests.support.ranks import run_ranks
from tests.support.runs import checkpoints, tensors

ALONE = ["trainer.devices=1"]
PAIR = ["trainer.devices=2"]
WHOLE = "model.micro_batch_size=16"
"""All of a batch at once."""

ONE_PROCESS = {
    "whole": [*ALONE, WHOLE],
    **{f"micro-batches of {size}": [*ALONE, f"model.micro_batch_size={size}"] for size in (1, 2, 4)},
    "from logits": [*ALONE, "model.micro_batch_size=4", "objective=masked_logits"],
    "chunked loss": [*ALONE, "model.micro_batch_size=4", "model.cross_entropy_chunk_size=24"],
}
TWO_PROCESSES = {
    **{f"data parallel, micro-batches of {size}": [*PAIR, f"model.micro_batch_size={size}"] for size in (1, 2, 4)},
    "distributed optimizer": [*PAIR, "model.optim.name=distributed_fused_adam"],
    "FSDP": [*PAIR, "model.fsdp=true"],
    "FSDP, micro-batches of 1": [*PAIR, "model.fsdp=true", "model.micro_batch_size=1"],
    "context parallel": [*PAIR, "model.context_parallel_size=2"],
    "context parallel, FSDP": [*PAIR, "model.context_parallel_size=2", "model.fsdp=true"],
    "tensor parallel": [*PAIR, "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": [*PAIR, "model.pipeline_model_parallel_size=2"],
    "virtual pipeline": [
        *PAIR,
        "model.pipeline_model_parallel_size=2",
        "model.virtual_pipeline_model_parallel_size=2",
    ],
}


@dataclass(frozen=True)
class Found:
    """What a run left behind."""

    steps: list[list[float]]
    """Loss, gradient norm and learning rate of each."""
    losses: list[tuple[float, int]]
    """Of its evaluation: mean and tokens of each micro-batch."""
    tensors: dict[str, torch.Tensor]

    @property
    def evaluated(self) -> float:
        return sum(mean * tokens for mean, tokens in self.losses) / sum(tokens for _, tokens in self.losses)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Found]:
    """All runs, by the way their batches were split."""
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("splits")
    for size, runs in ((1, ONE_PROCESS), (2, TWO_PROCESSES)):
        work = [(folder / name, overrides) for name, overrides in runs.items()]
        run_ranks(train_in_turn, (size, free_ports(len(work)), work), size)
    results = {}
    for name in (*ONE_PROCESS, *TWO_PROCESSES):
        run = folder / name
        results[name] = Found(**json.loads((run / "found.json").read_text()), tensors=tensors(checkpoints(run)[-1]))
    return results


@pytest.mark.parametrize("split", [name for name in (*ONE_PROCESS, *TWO_PROCESSES) if name != "whole"])
@pytest.mark.slow
def test_any_split_of_a_batch_is_the_same_step(found: dict[str, Found], split: str) -> None:
    """Losses, gradient norms and weights; a mean of means would be off by tens of percent."""
    expected, other = found["whole"], found[split]
    for one, two in zip(expected.steps, other.steps, strict=True):
        assert two == pytest.approx(one, rel=1e-6)
    assert other.evaluated == pytest.approx(expected.evaluated, rel=1e-6)
    weights = [name for name in expected.tensors if not name.startswith("optimizer.")]
    assert len(weights) == 9, "those of all layers are one"
    for name in weights:
        whole, parts = expected.tensors[name], other.tensors[name]
        assert (whole - parts).abs().max() <= 1e-6 * whole.abs().max(), name


@pytest.mark.slow
def test_unevenly(found: dict[str, Found]) -> None:
    """Some micro-batches have no token that counts, and weigh nothing."""
    counts = {tokens for _, tokens in found["micro-batches of 1"].losses}
    assert min(counts) == 0 and max(counts) > 25
    assert all(mean == 0 for mean, tokens in found["micro-batches of 1"].losses if not tokens)


@pytest.mark.slow
def test_the_step_is_that_of_the_mean(found: dict[str, Found], single_process: None) -> None:
    """The loss and the gradient's norm of the first step, by autograd over one pass of the whole batch."""
    from custom_modules.config.stages import Curriculum
    from custom_modules.data.batches import micro_batches
    from custom_modules.model.build import build_model
    from tests.support.splits import PROMPT, Uneven, masked_config

    config = masked_config(ONE_PROCESS["whole"])
    stage = Curriculum.from_config(config).stages[0]
    batch = next(micro_batches(Uneven(stage.seq_length), stage, 0, stage.num_samples, 0, config.model.vocab_size))
    model, labels = build_model(config), batch["labels"]
    logits = model(batch["tokens"], batch["position_ids"], None)
    loss = torch.nn.functional.cross_entropy(logits[labels >= PROMPT], labels[labels >= PROMPT])
    norm = math.sqrt(sum(grad.square().sum() for grad in torch.autograd.grad(loss, list(model.parameters()))))
    assert found["micro-batches of 1"].steps[0][:2] == pytest.approx([loss.item(), norm], rel=1e-6)


def test_a_batch_without_a_token_that_counts_stops_the_run(single_process: None, monkeypatch: Any) -> None:
    from tests.support.engines import small

    monkeypatch.setitem(OBJECTIVES, "nothing", lambda config: Nothing())
    model = small("objective=nothing")
    with pytest.raises(DivergedError, match=r"objective=nothing: no token of the step counts"):
        model.engine.train_step(iter(model.batches(model.stages[0])), model.stages[0])


class Nothing:
    from_logits = False

    def __call__(self, output: torch.Tensor, batch: Any) -> tuple[torch.Tensor, int]:
        return output.sum() * 0, 0


def test_logits_are_not_had_in_chunks(single_process: None) -> None:
    from custom_modules.objective import build_objective
    from tests.support.splits import masked_config

    config = masked_config([*ALONE, "objective=masked_logits", "model.cross_entropy_chunk_size=24"])
    with pytest.raises(UserError, match=r"model\.cross_entropy_chunk_size=24: objective=masked_logits"):
        build_objective(config)


@pytest.mark.parametrize("command", ["plan", "pretrain"])
@pytest.mark.parametrize("devices", [1, 2])
def test_an_unknown_one_is_refused_with_those_there_are(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], command: str, devices: int
) -> None:
    words = tiny("run", f"trainer.devices={devices}", "objective=next_tokn")
    done = danube(command, *words[1:])
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("danube: objective=next_tokn: ")
    assert "next_token" in done.stderr.partition("next_tokn: ")[2]


def test_a_resumed_run_may_not_change_it(
    danube: Callable[..., subprocess.CompletedProcess[str]], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    from custom_modules.config.stages import Curriculum
    from custom_modules.data.manifest import load_manifest
    from custom_modules.run_folder.checkpoint_files import resolve
    from custom_modules.run_folder.compatibility import check_resumable

    words = tiny("run", *ALONE, "curriculum.stage=stage1", "curriculum.stages.stage1.tokens=1024")
    done = danube(*words)
    assert done.returncode == 0, done.stderr
    config = load_config("danube_rehearsal", [*words[3:], "objective=masked"])
    with pytest.raises(UserError, match=r"objective: next_token -> masked"):
        check_resumable(config, Curriculum.from_config(config), load_manifest(config), resolve(tmp_path / "run"))
