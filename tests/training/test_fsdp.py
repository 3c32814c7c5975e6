"""A run whose weights are divided by FSDP resumes, begins with other weights, and converts as any other."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.runs import assert_same_run, checkpoints, read_metrics, tensors

Run = subprocess.CompletedProcess[str]
FSDP = ["trainer.devices=2", "model.fsdp=true"]
BF16 = ["trainer.precision=bf16-mixed", "model.optim.grad_sync_dtype=bf16"]
HALFWAY = "exp_manager.checkpoint_callback_params.every_n_train_tokens=1024"


def forget_after(run_dir: Path, tokens: int) -> None:
    for path in checkpoints(run_dir):
        if int(path.name.removeprefix("tokens_")) > tokens:
            shutil.rmtree(path)
    assert checkpoints(run_dir)[-1].name.endswith(str(tokens))


def check(done: Run) -> None:
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("precision", [[], BF16], ids=["fp32", "bf16"])
def test_resumed_begun_anew_and_converted(
    precision: list[str], danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    check(danube(*tiny("whole", *FSDP, *precision)))
    shutil.copytree(tmp_path / "whole", tmp_path / "resumed")
    forget_after(tmp_path / "resumed", 7168)
    check(danube(*tiny("resumed", *FSDP, *precision)))
    assert_same_run(tmp_path / "whole", tmp_path / "resumed")
    check(danube("convert", "to-hf", str(tmp_path / "whole"), str(tmp_path / "exported"), "--verify"))
    first = [f"model.restore_from_path={tmp_path / 'whole'}", "curriculum.stage=stage1"]
    check(danube(*tiny("sharded", *FSDP, *precision, *first)))
    check(danube(*tiny("alone", "trainer.devices=1", *precision, *first)))
    for one, other in zip(read_metrics(tmp_path / "alone"), read_metrics(tmp_path / "sharded"), strict=True):
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-2 if precision else 1e-4)


@pytest.mark.slow
def test_every_layout_goes_on_from_every_others_checkpoint(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path
) -> None:
    layers = ["model.num_layers=4", HALFWAY]
    check(danube(*tiny("alone", "trainer.devices=1", *layers)))
    shutil.copytree(tmp_path / "alone", tmp_path / "run")
    interleaved = [f"model.{name}_model_parallel_size=2" for name in ("pipeline", "virtual_pipeline")]
    hops = [
        (7168, [*FSDP]),
        (9216, ["trainer.devices=2", *interleaved]),
        (9216, ["trainer.devices=4", "model.context_parallel_size=2", "model.tensor_model_parallel_size=2"]),
        (9216, ["trainer.devices=2", "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"]),
        (9216, [*FSDP, "model.context_parallel_size=2"]),
    ]
    for tokens, layout in hops:
        forget_after(tmp_path / "run", tokens)
        check(danube(*tiny("run", *layers, *layout)))
    expected, found = (tensors(checkpoints(tmp_path / name)[-1]) for name in ("alone", "run"))
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        assert (tensor - found[name]).abs().max() <= 2e-3 * tensor.abs().max(), name


def test_a_step_of_0_is_in_the_checkpoint(single_process: None) -> None:
    """It is where the optimizer has made none: without it torch's Adam would have no step to count on from."""
    import torch

    from custom_modules.training.checkpoint import _state
    from tests.support.engines import small

    engine = small("model.fsdp=true").engine
    [part] = engine.optimizer.chained_optimizers
    for parameter in part.get_parameters():
        moments = {name: torch.zeros_like(parameter) for name in ("exp_avg", "exp_avg_sq")}
        part.optimizer.state[parameter] = {"step": torch.tensor(0.0), **moments}
    assert _state(engine, is_loading=False)["optimizer"]["state"]["common_step"] == 0
