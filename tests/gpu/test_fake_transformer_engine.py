"""The fake Transformer Engine, which CPU tests build on, against the real one."""

from __future__ import annotations

import importlib
import inspect
import json
import pickle
import subprocess
import sys
from typing import Any

import pytest

from tests.fake_transformer_engine.start import packages

pytestmark = pytest.mark.needs_gpu

CALLABLES = (
    "common.recipe.DelayedScaling",
    "pytorch.Linear",
    "pytorch.Linear.forward",
    "pytorch.Linear.get_fp8_meta_tensors",
    "pytorch.Linear.reset_fp8_meta_tensors",
    "pytorch.Linear.get_extra_state",
    "pytorch.Linear.set_extra_state",
    "pytorch.LayerNormLinear",
    "pytorch.LayerNormLinear.forward",
    "pytorch.RMSNorm",
    "pytorch.DotProductAttention",
    "pytorch.DotProductAttention.forward",
    "pytorch.DotProductAttention.set_context_parallel_group",
    "pytorch.attention.rope.apply_rotary_pos_emb",
    "pytorch.cpu_offload.get_cpu_offload_context",
    "pytorch.distributed.activation_recompute_forward",
    "pytorch.distributed.checkpoint",
    "pytorch.fp8_autocast",
    "pytorch.fp8_model_init",
    "pytorch.is_fp8_available",
    "pytorch.is_fp8_block_scaling_available",
    "pytorch.quantization.FP8GlobalStateManager.reduce_and_update_fp8_tensors",
    "pytorch.quantization.FP8GlobalStateManager.reset",
    "pytorch.optimizers.FusedAdam",
    "pytorch.optimizers.FusedAdam.step",
)
NONE = "none given"
RECIPES = {
    "DelayedScaling": ("margin", "fp8_format", "amax_history_len", "amax_compute_algo", "reduce_amax"),
    "Float8CurrentScaling": ("fp8_format", "fp8_dpa", "fp8_mha"),
    "Float8BlockScaling": ("fp8_format", "fp8_dpa", "fp8_mha"),
}


def describe() -> dict[str, Any]:
    """Parameters and defaults of what can be imported as ``transformer_engine`` in this process."""
    importlib.import_module("torch")  # the newest are not found before it
    return {
        "version": str(importlib.import_module("transformer_engine").__version__),
        "parameters": {name: _parameters(_find(name)) for name in CALLABLES},
        "recipes": {name: _fields(_find(f"common.recipe.{name}"), keys) for name, keys in RECIPES.items()},
        "linears": {name: _linear(name) for name in RECIPES},
        "formats": {name: list(_find("common.recipe.Format")[name].value) for name in ("E4M3", "E5M2", "HYBRID")},
    }


def _linear(recipe: str) -> dict[str, Any]:
    """What a pass of a linear in FP8 leaves behind, but for the numbers."""
    torch, te = importlib.import_module("torch"), importlib.import_module("transformer_engine")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    options = {"bias": False, "params_dtype": torch.bfloat16, "device": device, "fuse_wgrad_accumulation": True}
    layer = te.pytorch.Linear(256, 128, **options)
    fresh = layer.get_extra_state().numel()
    layer.weight.main_grad = torch.zeros(128, 256, dtype=torch.float32, device=device)
    layer.weight.grad_added_to_main_grad = False
    inp = torch.ones(128, 256, dtype=torch.bfloat16, device=device, requires_grad=True)
    with te.pytorch.fp8_autocast(fp8_recipe=_find(f"common.recipe.{recipe}")()):
        out = layer(inp, is_first_microbatch=True)
    out.backward(torch.ones_like(out))
    state = layer.get_extra_state().cpu().numpy().tobytes()
    kept = pickle.loads(state) if state else {}
    return {
        "fresh": fresh,
        "kept": {key: _form(value) for key, value in sorted(kept.items())},
        "copies": sorted(layer._fp8_workspaces),
        "in main_grad": layer.weight.grad_added_to_main_grad,
        "gradient": _form(layer.weight.grad),
    }


def _form(value: Any) -> list[str]:
    return [str(getattr(value, name, "")) for name in ("dtype", "shape")]


def _find(name: str) -> Any:
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(["transformer_engine", *parts[:end]]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            found = getattr(found, part)
        return found
    raise AssertionError(name)


def _parameters(function: Any) -> list[list[str]]:
    return [
        [name, parameter.kind.name, _default(parameter.default)]
        for name, parameter in inspect.signature(function).parameters.items()
    ]


def _fields(recipe: Any, keys: tuple[str, ...]) -> dict[str, str]:
    made = recipe()
    return {key: str(getattr(made, key)) for key in keys}


def _default(value: Any) -> str:
    return NONE if value is inspect.Parameter.empty else str(value)


@pytest.fixture(scope="module")
def real() -> dict[str, Any]:
    try:
        importlib.import_module("transformer_engine.pytorch")
    except ImportError:
        pytest.skip("Transformer Engine is not installed: its `gpu` extra")
    return describe()


@pytest.fixture(scope="module")
def fake(real: dict[str, Any]) -> dict[str, Any]:
    """What the fake has when it is of the real one's version."""
    command = [sys.executable, "-m", "tests.gpu.test_fake_transformer_engine"]
    env = {**packages(), "FAKE_TRANSFORMER_ENGINE": real["version"]}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@pytest.mark.parametrize("name", CALLABLES)
def test_signatures(name: str, real: dict[str, Any], fake: dict[str, Any]) -> None:
    """A call that the fake takes is one that the real one takes, and means the same."""
    asked, there = fake["parameters"][name], real["parameters"][name]
    by_name = {parameter: (kind, default) for parameter, kind, default in there}
    by_place = [entry for entry in asked if entry[1] not in ("KEYWORD_ONLY", "VAR_KEYWORD")]
    assert [entry[:2] for entry in there[: len(by_place)]] == [entry[:2] for entry in by_place]
    for parameter, kind, default in asked:
        if kind == "VAR_KEYWORD":
            continue
        real_kind, real_default = by_name.pop(parameter)
        assert real_kind == kind or (kind, real_kind) == ("KEYWORD_ONLY", "POSITIONAL_OR_KEYWORD"), parameter
        assert default in (real_default, NONE), parameter
    needed = [parameter for parameter, (kind, default) in by_name.items() if default == NONE and "VAR" not in kind]
    assert needed == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_recipes(recipe: str, real: dict[str, Any], fake: dict[str, Any]) -> None:
    assert real["recipes"][recipe] == fake["recipes"][recipe]


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_linear_leaves_behind(recipe: str, real: dict[str, Any], fake: dict[str, Any]) -> None:
    assert real["linears"][recipe] == fake["linears"][recipe]


def test_formats(real: dict[str, Any], fake: dict[str, Any]) -> None:
    assert real["formats"] == fake["formats"]


if __name__ == "__main__":
    print(json.dumps(describe()))
