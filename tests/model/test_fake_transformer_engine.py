"""The fake Transformer Engine, which other tests stand on, against plain formulas of what the real one, 2.11, does."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from custom_modules.model.windowed_attention import windowed_attention
from custom_modules.platform.launch import free_port
from tests.support.fake_engine import fake_engine
from tests.support.fake_engine_ranks import compare
from tests.support.ranks import run_ranks

E4M3, E5M2 = torch.float8_e4m3fn, torch.float8_e5m2
LARGEST = {E4M3: 448.0, E5M2: 57344.0}
IN, OUT, ROWS = 256, 144, 136
"""Features and tokens: one whole block of 128, and one that is cut."""

FORMATS = pytest.mark.parametrize(("name", "backward"), [("HYBRID", E5M2), ("E4M3", E4M3)])


@pytest.fixture
def te() -> Iterator[ModuleType]:
    with fake_engine() as module:
        yield module


def by(scale: Tensor | float, values: Tensor, dtype: torch.dtype) -> Tensor:
    """Values as FP8 has them."""
    return (values.float() * scale).clamp(-LARGEST[dtype], LARGEST[dtype]).to(dtype).float() / scale


def by_own(values: Tensor, dtype: torch.dtype) -> Tensor:
    return by(LARGEST[dtype] / values.float().abs().max(), values, dtype)


def by_blocks(values: Tensor, dtype: torch.dtype, rows: int, columns: int) -> Tensor:
    out = torch.empty(values.shape)
    for top in range(0, values.shape[0], rows):
        for left in range(0, values.shape[1], columns):
            block = (slice(top, top + rows), slice(left, left + columns))
            exponent = torch.floor(torch.log2(LARGEST[dtype] / values[block].float().abs().max()))
            out[block] = by(float(2**exponent), values[block], dtype)
    return out


def drawn(*shape: int, seed: int, factor: float = 1.0) -> Tensor:
    """Random bf16, of which later rows and columns are larger."""
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * factor
    for axis, size in enumerate(shape):
        values *= torch.logspace(0, 2, size).view([-1 if place == axis else 1 for place in range(len(shape))])
    return values.bfloat16()


def linear(te: ModuleType, **options: Any) -> Any:
    layer = te.pytorch.Linear(IN, OUT, bias=False, params_dtype=torch.bfloat16, device="cpu", **options)
    with torch.no_grad():
        layer.weight.copy_(drawn(OUT, IN, seed=1, factor=0.02))
    return layer


def run(te: ModuleType, layer: Any, recipe: Any, inp: Tensor, grad: Tensor, first: bool | None = None) -> list[Tensor]:
    """Return the output of a pass, and the gradients of input and weight."""
    inp = inp.clone().requires_grad_()
    layer.weight.grad = None
    with te.pytorch.fp8_autocast(enabled=recipe is not None, fp8_recipe=recipe):
        out = layer(inp, is_first_microbatch=first)
    out.backward(grad)
    return [out.detach(), inp.grad, layer.weight.grad]


def assert_products(found: list[Tensor], inp: Tensor, weight: Tensor, grad: Tensor, *other: Tensor) -> None:
    """Compare with the products of what FP8 has, rounded to bf16.

    Args:
        other: input and gradient as the weight's gradient sees them, if otherwise.
    """
    for_weight = other or (inp, grad)
    expected = [inp @ weight.t(), grad @ weight, for_weight[1].t() @ for_weight[0]]
    for one, product in zip(found, expected, strict=True):
        atol = 1e-3 * product.abs().max().item()
        torch.testing.assert_close(one.float(), product.bfloat16().float(), rtol=0.01, atol=atol)


@FORMATS
def test_tensorwise_scales_are_those_of_each_tensor(te: ModuleType, name: str, backward: torch.dtype) -> None:
    layer = linear(te)
    recipe = te.common.recipe.Float8CurrentScaling(fp8_format=te.common.recipe.Format[name])
    for seed in (2, 3):
        inp, grad = drawn(ROWS, IN, seed=seed), drawn(ROWS, OUT, seed=seed + 10, factor=1e-3)
        found = run(te, layer, recipe, inp, grad)
        assert_products(found, by_own(inp, E4M3), by_own(layer.weight.detach(), E4M3), by_own(grad, backward))


@FORMATS
def test_blockwise_scales_are_those_of_each_block(te: ModuleType, name: str, backward: torch.dtype) -> None:
    """Along the tokens where the product goes along them."""
    layer = linear(te)
    recipe = te.common.recipe.Float8BlockScaling(fp8_format=te.common.recipe.Format[name])
    inp, grad = drawn(ROWS, IN, seed=2), drawn(ROWS, OUT, seed=12, factor=1e-3)
    found = run(te, layer, recipe, inp, grad)
    weight = by_blocks(layer.weight.detach(), E4M3, 128, 128)
    seen = [by_blocks(inp, E4M3, 1, 128), weight, by_blocks(grad, backward, 1, 128)]
    assert_products(found, *seen, by_blocks(inp, E4M3, 128, 1), by_blocks(grad, backward, 128, 1))
    with pytest.raises(AssertionError):
        assert_products(found, by_own(inp, E4M3), by_own(layer.weight.detach(), E4M3), by_own(grad, backward))


@pytest.mark.parametrize("algorithm", ["max", "most_recent"])
def test_delayed_scales_are_those_of_the_passes_before(te: ModuleType, algorithm: str) -> None:
    """As many passes count as the history is long; in the first there is none, and scales are 1."""
    layer, length, margin = linear(te), 3, 1
    recipe = te.common.recipe.DelayedScaling(margin=margin, amax_history_len=length, amax_compute_algo=algorithm)
    factors = [1.0, 50.0, 2.0, 0.5, 0.1, 0.01]
    histories: list[list[Tensor]] = []
    scales = [torch.tensor(1.0)] * 3
    for number, factor in enumerate(factors):
        inp = drawn(ROWS, IN, seed=number, factor=factor)
        grad = drawn(ROWS, OUT, seed=number + 10, factor=1e-3 * factor)
        tensors = [inp, layer.weight.detach(), grad]
        dtypes = [E4M3, E4M3, E5M2]
        found = run(te, layer, recipe, inp, grad)
        assert_products(found, *(by(*one) for one in zip(scales, tensors, dtypes, strict=True)))
        histories.append([tensor.float().abs().max() for tensor in tensors])
        used = histories[-length:] if algorithm == "max" else histories[-1:]
        scales = [
            LARGEST[dtype] / max(amax) / 2**margin for dtype, amax in zip(dtypes, zip(*used, strict=True), strict=True)
        ]


def test_an_evaluation_leaves_its_largest_values_to_the_next_pass(te: ModuleType) -> None:
    layer = linear(te)
    recipe = te.common.recipe.DelayedScaling(amax_history_len=4)
    large = drawn(ROWS, IN, seed=1, factor=1000.0)
    with torch.no_grad(), te.pytorch.fp8_autocast(fp8_recipe=recipe):
        layer(large)
    assert layer.fp8_meta["scaling_fwd"].scale.tolist() == [1, 1, 1]
    run(te, layer, recipe, drawn(ROWS, IN, seed=2), drawn(ROWS, OUT, seed=3))
    assert layer.fp8_meta["scaling_fwd"].scale[0] == 448 / large.float().abs().max()


def test_a_module_has_the_histories_of_both_directions_in_its_extra_state(
    te: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipes, passes = te.common.recipe, 3
    recipe = recipes.DelayedScaling(amax_history_len=8)
    whole, before = linear(te), linear(te)
    assert before.get_extra_state().numel() == 0
    pairs = [(drawn(ROWS, IN, seed=n), drawn(ROWS, OUT, seed=n + 10, factor=1e-3)) for n in range(2 * passes)]
    found = [run(te, whole, recipe, *pair) for pair in pairs]
    for pair in pairs[:passes]:
        run(te, before, recipe, *pair)
    state = before.get_extra_state()
    kept = unpickled(state)
    shapes = {name: (value.dtype, value.shape) for name, value in kept.items() if isinstance(value, Tensor)}
    assert shapes == {
        "scale_fwd": (torch.float32, (3,)),
        "amax_history_fwd": (torch.float32, (8, 3)),
        "scale_bwd": (torch.float32, (2,)),
        "amax_history_bwd": (torch.float32, (8, 2)),
    }
    assert (kept["amax_history_bwd"][:, 0] > 0).sum() == passes and kept["scale_bwd"][0] != 1
    after = linear(te)
    with pytest.raises(RuntimeError, match="pickled"):
        after.set_extra_state(state)
    monkeypatch.setenv("NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE", "1")
    after.set_extra_state(state)
    again = unpickled(after.get_extra_state())  # before any pass
    assert again.keys() == kept.keys()
    assert all(torch.equal(again[name], kept[name]) for name in shapes)
    for pair, expected in zip(pairs[passes:], found[passes:], strict=True):
        for one, other in zip(run(te, after, recipe, *pair), expected, strict=True):
            assert torch.equal(one, other)


def unpickled(state: Tensor) -> dict[str, Any]:
    return pickle.loads(state.numpy().tobytes())


@pytest.mark.parametrize("kind", ["Float8CurrentScaling", "Float8BlockScaling"])
def test_other_recipes_keep_nothing_but_themselves(te: ModuleType, kind: str) -> None:
    layer, recipe = linear(te), getattr(te.common.recipe, kind)()
    run(te, layer, recipe, drawn(ROWS, IN, seed=1), drawn(ROWS, OUT, seed=2))
    state = layer.get_extra_state()
    kept = unpickled(state) if state.numel() else {}
    assert (kept.get("recipe") == recipe) == te.versions.HAS_STATE_WITHOUT_HISTORY
    assert not any(isinstance(value, Tensor) for value in kept.values())


@pytest.mark.parametrize("kind", ["DelayedScaling", "Float8CurrentScaling", "Float8BlockScaling"])
def test_an_fp8_weight_is_that_of_the_first_micro_batch(te: ModuleType, kind: str) -> None:
    layer, recipe = linear(te), getattr(te.common.recipe, kind)()
    inp, grad = drawn(ROWS, IN, seed=1), drawn(ROWS, OUT, seed=2)
    for _ in range(2):  # delayed scales settle
        first = run(te, layer, recipe, inp, grad, first=True)
    with torch.no_grad():
        layer.weight.mul_(-1)
    stale, fresh = (run(te, layer, recipe, inp, grad, first=first) for first in (False, True))
    assert torch.equal(stale[0], first[0]) and torch.equal(stale[1], first[1])
    assert torch.equal(fresh[0], -first[0])
    with torch.no_grad():
        layer.weight.mul_(-1)
    assert torch.equal(run(te, layer, recipe, inp, grad)[0], first[0])  # never kept where it is not said


@pytest.mark.parametrize("kind", ["DelayedScaling", None])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_first_micro_batch_overwrites_main_grad(te: ModuleType, kind: str | None, dtype: torch.dtype) -> None:
    recipe = getattr(te.common.recipe, kind)() if kind else None
    layer, plain = linear(te, fuse_wgrad_accumulation=True), linear(te)
    layer.weight.main_grad = torch.full_like(layer.weight, 1000.0, dtype=dtype)
    pairs = [(drawn(ROWS, IN, seed=n), drawn(ROWS, OUT, seed=n + 10)) for n in range(3)]
    expected = [run(te, plain, recipe, *pair)[2].float() for pair in pairs]
    total = torch.zeros_like(expected[0])
    for number, pair in enumerate(pairs):
        assert run(te, layer, recipe, *pair, first=number == 0)[2] is None
        total += expected[number]
        atol = 0.01 * total.abs().max().item()
        torch.testing.assert_close(layer.weight.main_grad.float(), total, rtol=0.03, atol=atol)
    before = layer.weight.main_grad.clone()
    run(te, layer, recipe, *pairs[0])
    assert not torch.equal(layer.weight.main_grad, before)
    layer.weight.grad_added_to_main_grad = False
    assert run(te, layer, recipe, *pairs[0], first=True)[2].isnan().all()  # nothing to be looked at
    assert layer.weight.grad_added_to_main_grad


def test_what_is_run_again_has_the_scales_that_it_had(te: ModuleType) -> None:
    recipe = te.common.recipe.DelayedScaling(amax_history_len=16)
    plain, again = linear(te), linear(te)
    for number, factor in enumerate((1.0, 30.0, 3.0)):
        inp, grad = drawn(ROWS, IN, seed=number, factor=factor), drawn(ROWS, OUT, seed=number + 10)
        expected = run(te, plain, recipe, inp, grad)
        inp = inp.clone().requires_grad_()
        again.weight.grad = None
        with te.pytorch.fp8_autocast(fp8_recipe=recipe):
            out = te.pytorch.distributed.checkpoint(again, inp)
        out.backward(grad)
        for one, other in zip((out.detach(), inp.grad, again.weight.grad), expected, strict=True):
            assert torch.equal(one, other), number


def test_two_dtypes_of_input_and_weight_are_refused(te: ModuleType) -> None:
    with pytest.raises(AssertionError, match="Data types"):
        linear(te)(torch.zeros(8, IN))


def attention(te: ModuleType, window: int | None = None) -> Any:
    return te.pytorch.DotProductAttention(4, 8, 2, window_size=None if window is None else (window - 1, 0))


@pytest.mark.parametrize(
    ("dtype", "backend"), [(torch.float32, "UnfusedDotProductAttention"), (torch.bfloat16, "FusedAttention")]
)
@pytest.mark.parametrize("window", [None, 48])
def test_attention(te: ModuleType, dtype: torch.dtype, backend: str, window: int | None) -> None:
    """It is causal, with the window, and in fp32 keeps all scores."""
    generator, length = torch.Generator().manual_seed(1), 320
    drawn = [torch.randn(length, 2, heads, 8, generator=generator).to(dtype) for heads in (4, 2, 2, 4)]
    query, key, value = (tensor.clone().requires_grad_() for tensor in drawn[:3])
    layer = attention(te, window)
    largest = biggest_kept(lambda: layer(query, key, value, attn_mask_type="causal").backward(drawn[3].flatten(2)))
    assert layer.backend == backend
    scores = 2 * 4 * length**2
    assert (largest >= scores) if dtype == torch.float32 else (largest < scores / 4)
    exact = [tensor.double().requires_grad_() for tensor in drawn[:3]]
    headed = [tensor.permute(1, 2, 0, 3) for tensor in exact]
    out = windowed_attention(headed[0], headed[1], headed[2], window).permute(2, 0, 1, 3).flatten(2)
    out.backward(drawn[3].double().flatten(2))
    tolerance = 1e-5 if dtype == torch.float32 else 0.03
    for one, other in zip((query, key, value), exact, strict=True):
        assert one.grad is not None
        torch.testing.assert_close(one.grad.double(), other.grad, rtol=tolerance, atol=tolerance)


def biggest_kept(work: Callable[[], None]) -> int:
    """The elements of the largest tensor that a forward pass keeps for the backward pass."""
    sizes = [0]

    def note(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        work()
    return max(sizes)


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 4])
def test_several_processes_compute_what_one_does(size: int) -> None:
    """Tensor and sequence parallelism in each precision, and every way of context parallelism."""
    run_ranks(compare, (size, free_port()), size)


@pytest.mark.parametrize(
    ("way", "window", "groups", "message"),
    [
        ("p2p", 48, 4, "sliding window"),
        ("a2a", None, 2, "dealt out"),
        ("ring", None, 4, "Unsupported communication type"),
    ],
)
def test_what_context_parallelism_cannot_do(
    te: ModuleType, way: str, window: int | None, groups: int, message: str
) -> None:
    from transformer_engine.pytorch.attention.context_parallel import check_communication

    with pytest.raises(AssertionError, match=message):
        check_communication(way, (-1 if window is None else window - 1, 0), heads=8, groups=groups, size=4)


def test_attention_in_fp32_cannot_be_context_parallel(te: ModuleType) -> None:
    from transformer_engine.pytorch.attention.backends import choose_backend

    with pytest.raises(ValueError, match="No dot product attention backend"):
        choose_backend(torch.float32, 8, context_parallel=True)
