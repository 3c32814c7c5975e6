"""Documents that don't see each other: what Transformer Engine has attend to them on an H100, or a refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from tests.null_gpu.environments import Environment
from tests.null_gpu.programs.fake_world import DOCUMENT
from tests.null_gpu.run import NO_LARGE_COPIES, run_danube, run_program
from tests.null_gpu.suite.test_layouts import FP8, SMALL
from tests.null_gpu.suite.test_memory import ATTENTION_WORKSPACE, GIGABYTES, ONE_DEVICE, TOLERANCE
from tests.null_gpu.suite.training import ON_GPU, SHAPE, train
from tests.support.runs import read_metrics

SEPARATE = ["data.reset_attention_mask=true", "data.eod_mask_loss=true"]
RECIPES = {"danube_1_8b": ["model.fp8=null"], "danube2": []}
LAYOUTS = {
    "sequence_4": (4, ["model.tensor_model_parallel_size=4", "model.sequence_parallel=true"]),
    "pipeline_4": (4, ["model.pipeline_model_parallel_size=4"]),
    "virtual_pipeline_2": (
        2,
        ["model.pipeline_model_parallel_size=2", "model.virtual_pipeline_model_parallel_size=2"],
    ),
    "alibi": (1, ["model.architecture=lokilm", "model.sliding_window=null"]),
    "recomputed": (1, ["model.activations_checkpoint_granularity=full"]),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_fused_kernel_attends_at_full_size(environment: Environment, recipe: str, print_figure: Any) -> None:
    """To documents with the window, in every stage, with no more memory than the plan has."""
    overrides = [*ONE_DEVICE, *RECIPES[recipe], *SEPARATE]
    request = {"config": recipe, "overrides": overrides, "stages": [], "steps": 2}
    found = run_program(environment, "rank", request, gigabytes=GIGABYTES, variables=NO_LARGE_COPIES)
    config = load_config(recipe, overrides)
    window = config.model.sliding_window
    for stage in Curriculum.from_config(config).stages:
        chosen = found["attention"][stage.name]
        print_figure(f"{recipe}, {stage.name}: {chosen}")
        assert (chosen["qkv_layout"], chosen["attn_mask_type"]) == ("thd_thd_thd", "padding_causal")
        assert chosen["window_size"] == ([window - 1, 0] if window else [-1, 0])
        assert chosen["max_seqlen_q"] == stage.seq_length
        assert chosen["batch_size"] == stage.micro_batch_size * -(-stage.seq_length // DOCUMENT)
        assert chosen["use_fused_attention"] and not chosen["use_unfused_attention"]
        workspace = ATTENTION_WORKSPACE * stage.micro_batch_size * stage.seq_length
        assert found["peaks"][stage.name] + workspace <= (1 + TOLERANCE) * found["planned"][stage.name]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_attends_to_packed_documents(environment: Environment, layout: str) -> None:
    size, overrides = LAYOUTS[layout]
    request: dict[str, Any] = {
        "config": "danube_rehearsal",
        "overrides": [*SMALL, *FP8, *SEPARATE, f"trainer.devices={size}", *overrides],
        "stages": ["stage1", "stage4"],
        "steps": 2,
    }
    found = run_program(environment, "rank", request)
    for chosen in found["attention"].values():
        assert chosen["qkv_layout"] == "thd_thd_thd"
        assert chosen["use_fused_attention"]


def test_a_run_on_prepared_data(environment: Environment, data: Path, tmp_path: Path) -> None:
    """From the loader, with a validation whose last windows are filled up with ends."""
    train(environment, data, tmp_path, ON_GPU, *SEPARATE)
    assert read_metrics(tmp_path / "run", "validation")


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["trainer.precision=32-true", "model.transformer_engine=true"], "float32, head dim 64"),
        (["model.transformer_engine=true", "model.kv_channels=12"], "bfloat16, head dim 12"),
    ],
)
def test_an_attention_without_a_fused_kernel_is_refused(
    environment: Environment, data: Path, tmp_path: Path, overrides: list[str], said: str
) -> None:
    folders = [f"data.dir={data}", f"exp_manager.exp_dir={tmp_path}", "exp_manager.name=run"]
    words = [*SHAPE, ON_GPU, *folders, *SEPARATE, *overrides]
    ended = run_danube(environment, "pretrain", "--config-name", "danube_rehearsal", *words)
    assert ended.code == 2, ended.output[-8000:]
    [line] = [line for line in ended.stderr.splitlines() if line.startswith("danube: ")]
    assert line.startswith("danube: data.reset_attention_mask=true: Transformer Engine has no fused attention")
    assert said in line
