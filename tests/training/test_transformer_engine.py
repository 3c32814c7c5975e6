"""Runs with Transformer Engine's layers and Adam, on the CPU, beside runs without.

A fake one (``tests/fake_transformer_engine``) takes the real one's place: it imitates FP8 by rounding, and keeps
histories of largest values as the real one does. So this shows that runs train, that every layout computes what one
process does, that checkpoints hold all that both sides need, and that either side goes on from the other's. It shows
nothing of the real kernels.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fake_transformer_engine.start import danube_as_on_a_gpu
from tests.support.runs import assert_same_run, checkpoints, read_metrics, tensors
from tests.support.tiny import TINY

pytestmark = pytest.mark.slow
SHORT = ["curriculum.stages.stage1.tokens=2048", "curriculum.stages.stage2.tokens=1024"]
"""Four steps below the window, two beyond it."""
FP8 = [
    *["trainer.precision=bf16-mixed", "model.fp8=hybrid", "trainer.devices=2"],
    "model.optim.name=distributed_fused_adam",
]
LAYOUTS = {
    "fsdp": ["trainer.devices=2", "model.fsdp=true"],
    "tensor": ["trainer.devices=2", "model.tensor_model_parallel_size=2"],
    "sequence": ["trainer.devices=2", "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": ["trainer.devices=2", "model.pipeline_model_parallel_size=2"],
}
BF16 = "trainer.precision=bf16-mixed"
IN_BF16 = {
    "gathering context": [BF16, "trainer.devices=2", "model.context_parallel_size=2"],
    "exchanging context": [BF16, "trainer.devices=2", "model.context_parallel_size=2", "model.cp_comm_type=a2a"],
}
DOCUMENTS = ["data.reset_attention_mask=true", "data.eod_mask_loss=true", BF16]
SEPARATE = {
    "documents_sequence": [*DOCUMENTS, *LAYOUTS["sequence"]],
    "documents_pipeline": [*DOCUMENTS, *LAYOUTS["pipeline"]],
    "documents_in_fp8": [*DOCUMENTS, "model.fp8=hybrid", "trainer.devices=2"],
}
FSDP = ["model.fsdp=true", "model.optim.name=adamw", "model.optim.grad_sync_dtype=bf16"]
FOUR_LAYERS = [*FP8, "model.num_layers=4"]
INTERLEAVED = [*LAYOUTS["pipeline"], "model.virtual_pipeline_model_parallel_size=2"]
IN_FP8 = {
    "fp8_sequence": [*FP8, *LAYOUTS["sequence"]],
    "fp8_context": [*FP8, "model.context_parallel_size=2"],
    "fp8_fsdp": [*FP8, *FSDP],
    "fp8_pipeline": [*FP8, *LAYOUTS["pipeline"]],
    "fp8_interleaved": [*FOUR_LAYERS, *INTERLEAVED],
}
IN_TWO = {"fp8_in_two": FP8, "fp8_fsdp_in_two": [*FP8, *FSDP]}
PARTS: tuple[list[str], ...] = (["curriculum.stage=stage1"], [])
RECOMPUTED = {
    "fp8_recomputed": [*FP8, "model.activations_checkpoint_granularity=full"],
    "fp8_mlp_recomputed": [*FP8, "model.activations_checkpoint_granularity=selective"],
}


@pytest.fixture(scope="module")
def folder(
    tmp_path_factory: pytest.TempPathFactory, prepared: Path, danube: Callable[..., subprocess.CompletedProcess[str]]
) -> Path:
    """All runs: ``local`` on the CPU's own path, and what begins as another run did; all else is as on a GPU."""
    folder = tmp_path_factory.mktemp("runs")

    def command(name: str, *overrides: str) -> list[str]:
        folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]
        one = [] if any(override.startswith("trainer.devices") for override in overrides) else ["trainer.devices=1"]
        return ["pretrain", "--config-name", "danube_rehearsal", *TINY, *folders, *SHORT, *one, *overrides]

    engine = "model.transformer_engine=true"
    distributed = "model.optim.name=distributed_fused_adam"
    for run in (["local"], ["local_distributed", distributed], ["local_documents", *DOCUMENTS]):
        done = danube(*command(*run))
        assert done.returncode == 0, done.stderr
        begin_as(folder / run[0], folder / f"{run[0]}_first")
    as_often = [
        command(name, engine, "trainer.deterministic=true") for name in ("deterministic", "deterministic_again")
    ]
    first = [command("local_first", engine), command("local_distributed_first", engine, distributed)]
    danube_as_on_a_gpu(
        command("single", engine), *first, command("bf16", BF16), *as_often, command("documents", *DOCUMENTS)
    )
    begin_as(folder / "single", folder / "engine_first")
    begin_as(folder / "bf16", folder / "bf16_engine_first")
    log = danube_as_on_a_gpu(
        *[command("without"), command("engine_first"), command("bf16_engine_first", BF16)], fake=False
    )
    (folder / "without.log").write_text(log)
    danube_as_on_a_gpu(
        *[command(name, engine, *layout) for name, layout in LAYOUTS.items()],
        *[command(name, *layout) for name, layout in {**IN_BF16, **IN_FP8, **RECOMPUTED, **SEPARATE}.items()],
        *[command(name, *layout, *part) for name, layout in IN_TWO.items() for part in PARTS],
        *[command("fp8_four_layers", *FOUR_LAYERS), command("fp8", *FP8)],
        processes=2,
    )
    return folder


def begin_as(run_dir: Path, other: Path) -> None:
    """Leave of a run what was there when it had just saved the end of its first stage."""
    shutil.copytree(run_dir, other)
    shutil.rmtree(checkpoints(other)[-1])


def assert_same_losses(one: Path, other: Path, tolerance: float) -> None:
    for kind, count in (("train", 6), ("validation", 2)):
        expected, found = read_metrics(one, kind), read_metrics(other, kind)
        assert len(expected) == len(found) == count
        for first, second in zip(expected, found, strict=True):
            assert second["loss"] == pytest.approx(first["loss"], rel=tolerance), first["tokens"]


@pytest.mark.parametrize("name", ["single", *LAYOUTS])
def test_every_layout_has_the_losses_of_the_local_layers(folder: Path, name: str) -> None:
    assert_same_losses(folder / "local", folder / name, 1e-5)


@pytest.mark.parametrize("name", IN_BF16)
def test_every_way_to_divide_sequences_has_the_losses_of_one_process(folder: Path, name: str) -> None:
    assert_same_losses(folder / "bf16", folder / name, 2e-4)


@pytest.mark.parametrize("name", ["documents", *SEPARATE])
def test_packed_documents_have_the_losses_of_the_local_layers(folder: Path, name: str) -> None:
    assert_same_losses(folder / "local_documents", folder / name, 1e-2 if name.endswith("fp8") else 5e-4)
    seen, separate = (read_metrics(folder / run)[0]["loss"] for run in ("bf16", "documents"))
    assert seen != pytest.approx(separate, rel=1e-5)


@pytest.mark.parametrize("name", IN_FP8)
def test_scales_are_those_of_all_ranks(folder: Path, name: str) -> None:
    """Whoever has which part of a tensor: but for rounding, a layout has the losses of data parallelism."""
    undivided = "fp8_four_layers" if name == "fp8_interleaved" else "fp8"
    assert_same_losses(folder / undivided, folder / name, 3e-4)


@pytest.mark.parametrize("name", RECOMPUTED)
def test_what_fp8_computes_again_is_what_it_was(folder: Path, name: str) -> None:
    assert_same_run(folder / "fp8", folder / name)


def test_deterministic(folder: Path) -> None:
    """megatron-core refuses Transformer Engine's attention for such a run where the environment does not say it too."""
    assert_same_losses(folder / "single", folder / "deterministic", 1e-5)
    assert_same_run(folder / "deterministic", folder / "deterministic_again")


def test_fp8_trains(folder: Path) -> None:
    """Not the same as without, or FP8 was not on."""
    assert_same_losses(folder / "local", folder / "fp8", 1e-2)
    fp8, bf16 = (read_metrics(folder / name) for name in ("fp8", "bf16"))
    assert any(one["loss"] != pytest.approx(other["loss"], rel=1e-6) for one, other in zip(fp8, bf16, strict=True))


@pytest.mark.parametrize("name", ["fp8", "fp8_fsdp"])
def test_an_fp8_run_goes_on_as_if_it_had_not_stopped(folder: Path, name: str) -> None:
    """Bit for bit: its scales come from histories, which are in the checkpoint."""
    assert_same_run(folder / name, folder / f"{name}_in_two")


@pytest.mark.parametrize(
    ("name", "undisturbed"),
    [
        ("local_first", "local"),
        ("local_distributed_first", "local"),
        ("engine_first", "local"),
        ("bf16_engine_first", "bf16"),
    ],
)
def test_either_side_goes_on_from_the_others_checkpoint(folder: Path, name: str, undisturbed: str) -> None:
    """The gradient's norm would not show it if Adam's step count were lost, but the next losses would."""
    assert_same_losses(folder / undisturbed, folder / name, 1e-5 if undisturbed == "local" else 2e-4)


def test_checkpoints_hold_the_same_weights_under_the_same_names(folder: Path) -> None:
    local, fused = (tensors(checkpoints(folder / name)[-1]) for name in ("local", "single"))
    assert local.keys() == fused.keys()
    for name, weight in local.items():
        assert (weight - fused[name]).abs().max() <= 1e-3 * weight.abs().max(), name


def test_what_is_lost_without_transformer_engine_is_said_once(folder: Path) -> None:
    assert_same_losses(folder / "local", folder / "without", 1e-5)
    first = (folder / "without.log").read_text().partition("done: ")[0]
    lines = [line for line in first.splitlines() if "Transformer Engine" in line]
    assert len(lines) == 1
    assert "no Transformer Engine (not installed): no FP8" in lines[0] and "install the `gpu` extra" in lines[0]


def test_its_checkpoint_is_exported_where_there_is_none(
    folder: Path, danube: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    done = danube("convert", "to-hf", str(folder / "fp8"), str(tmp_path / "exported"), "--verify")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "exported" / "config.json").read_text())["dtype"] == "bfloat16"
