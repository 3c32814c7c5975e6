"""Which kernels a run gets, by config, accelerator and what is installed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.platform.kernels import FP8_RECIPES, Kernels, Software, choose_kernels

NOTHING = Software()
ENGINE = Software(transformer_engine="2.11.0")
OLD = Software(transformer_engine_problem="2.8.0 is not <2.12.0,>=2.9.0a0")
AUTO = ["model.fp8=null"]
FP32 = [*AUTO, "trainer.precision=32-true"]
UNEVEN, WIDE = ["model.kv_channels=84"], ["model.kv_channels=264"]
TRUE = [*AUTO, "model.transformer_engine=true"]
FALSE = [*AUTO, "model.transformer_engine=false"]


def choose(overrides: list[str], accelerator: str, software: Software) -> Kernels:
    return choose_kernels(load_config("danube_1_8b", overrides), accelerator, software)


@pytest.mark.parametrize(
    ("overrides", "accelerator", "software", "engine"),
    [
        ([], "gpu", ENGINE, True),
        (AUTO, "gpu", ENGINE, True),
        (FP32, "gpu", ENGINE, False),
        ([*FP32, *TRUE], "gpu", ENGINE, True),
        ([*AUTO, *UNEVEN], "gpu", ENGINE, False),
        ([*AUTO, *WIDE], "gpu", ENGINE, False),
        ([*TRUE, *UNEVEN], "gpu", ENGINE, True),
        (TRUE, "gpu", ENGINE, True),
        (FALSE, "gpu", ENGINE, False),
        (AUTO, "gpu", NOTHING, False),
        (AUTO, "gpu", OLD, False),
        (AUTO, "cpu", ENGINE, False),
        (FALSE, "cpu", NOTHING, False),
    ],
)
def test_transformer_engine_where_there_is_a_gpu_and_it(
    overrides: list[str], accelerator: str, software: Software, engine: bool
) -> None:
    """It is chosen in bf16 as in FP8; one line is printed where a GPU does without, and none else."""
    kernels = choose(overrides, accelerator, software)
    assert kernels.transformer_engine is engine
    assert kernels.fused_elementwise is (accelerator == "gpu")
    assert len(kernels.notes) == (accelerator == "gpu" and not engine)


def test_what_is_lost_and_why() -> None:
    for overrides, software, why, remedy in (
        (AUTO, NOTHING, "(not installed)", "install the `gpu` extra"),
        (AUTO, OLD, "(2.8.0 is not <2.12.0,>=2.9.0a0)", "install the `gpu` extra"),
        (FALSE, ENGINE, "(model.transformer_engine=false)", "set model.transformer_engine=auto"),
        (FP32, ENGINE, "(trainer.precision=32-true)", "set trainer.precision=bf16-mixed to have it"),
        ([*AUTO, *UNEVEN], ENGINE, "(a head dim of 84)", "to a multiple of 8 up to 256 to have it"),
    ):
        (note,) = choose(overrides, "gpu", software).notes
        assert note.startswith(f"no Transformer Engine {why}: ") and note.endswith(remedy)
        assert "\n" not in note


@pytest.mark.parametrize(
    ("overrides", "accelerator", "software", "message"),
    [
        ([], "gpu", NOTHING, r"model.fp8=hybrid: .*\(not installed\); install the `gpu` extra, or set model.fp8=null"),
        ([], "gpu", OLD, r"model.fp8=hybrid: .*\(2.8.0 is not <2.12.0,>=2.9.0a0\)"),
        ([], "cpu", ENGINE, "model.fp8=hybrid: needs an H100"),
        (TRUE, "gpu", OLD, r"model.transformer_engine=true: .*\(2.8.0 is not .*set model.transformer_engine=auto"),
        (TRUE, "cpu", ENGINE, "model.transformer_engine=true: needs a GPU"),
        (
            ["model.fp8_recipe=blockwise"],
            "gpu",
            replace(ENGINE, fp8_problems={"blockwise": "CUDA 12.9 or higher required"}),
            r"model.fp8_recipe=blockwise: not on this device \(CUDA 12.9 or higher required\)",
        ),
        (
            [],
            "gpu",
            replace(ENGINE, fp8_problems=dict.fromkeys(FP8_RECIPES, "compute capability 8.9 or higher required")),
            r"^model.fp8=hybrid: not on this device \(compute cap.* required\); set model.fp8=null to train in bf16$",
        ),
    ],
)
def test_what_cannot_be_had_is_refused(
    overrides: list[str], accelerator: str, software: Software, message: str
) -> None:
    with pytest.raises(UserError, match=message) as refused:
        choose(overrides, accelerator, software)
    assert "\n" not in str(refused.value)


def test_fp8_has_transformer_engine_without_its_fused_attention_and_says_so() -> None:
    kernels = choose(UNEVEN, "gpu", ENGINE)
    assert kernels.transformer_engine
    (note,) = kernels.notes
    assert note.startswith("Transformer Engine's attention is not fused (a head dim of 84), and has a matrix of s x s;")


def test_apex() -> None:
    """NVIDIA's adds its kernel; any other is named, on a GPU and on a CPU."""
    assert not choose([], "gpu", ENGINE).gradient_accumulation_fusion
    assert choose([], "gpu", replace(ENGINE, weight_gradient_kernel=True)).gradient_accumulation_fusion
    assert choose(AUTO, "gpu", Software(weight_gradient_kernel=True)).gradient_accumulation_fusion
    other = Software(apex_problem="not NVIDIA's: apex 0.9.10, no summary; pip uninstall apex")
    assert choose(AUTO, "cpu", other).notes == (f"Apex: {other.apex_problem}",)
    assert len(choose(AUTO, "gpu", other).notes) == 2
