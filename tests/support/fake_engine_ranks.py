"""What each of several processes does with the fake Transformer Engine's layers, beside one that has all by itself."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from tests.support.fake_engine import fake_engine

IN, OUT, ROWS = 256, 128, 256
HEADS, GROUPS, DIM = 8, 4, 8
RECIPES = (None, "DelayedScaling", "Float8CurrentScaling", "Float8BlockScaling")


def compare(rank: int, size: int, port: int) -> None:
    """Compare outputs and gradients of linears and attentions with a rank's part of the whole."""
    torch.set_num_threads(1)
    store = torch.distributed.TCPStore("127.0.0.1", port, size, is_master=rank == 0)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=size)
    with fake_engine() as te:
        for recipe in RECIPES:
            for sequence_parallel in (False, True):
                for kind in ("column", "norm", "row"):
                    compare_linear(te, kind, recipe, sequence_parallel)
        for way, window in (("all_gather", 48), ("all_gather", None), ("a2a", 48), ("p2p", None)):
            compare_attention(te, way, window)
    torch.distributed.destroy_process_group()


def drawn(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


def make(te: ModuleType, kind: str, **options: Any) -> Any:
    mode = "row" if kind == "row" else "column"
    common = {"bias": False, "params_dtype": torch.bfloat16, "device": "cpu", "parallel_mode": mode, **options}
    if kind == "norm":
        return te.pytorch.LayerNormLinear(IN, OUT, normalization="RMSNorm", **common)
    return te.pytorch.Linear(IN, OUT, **common)


def compare_linear(te: ModuleType, kind: str, recipe: str | None, sequence_parallel: bool) -> None:
    """Three passes, so that delayed scales have come from those of all ranks."""
    group = torch.distributed.group.WORLD
    whole = make(te, kind)
    mine = make(te, kind, tp_group=group, sequence_parallel=sequence_parallel)
    axis = 1 if kind == "row" else 0
    weight = drawn(OUT, IN, seed=1)
    with torch.no_grad():
        whole.weight.copy_(weight)
        mine.weight.copy_(part(weight, axis))
    for number in range(3):
        inp, grad = drawn(ROWS, 1, IN, seed=2 + number) * 10**number, drawn(ROWS, 1, OUT, seed=20 + number)
        expected = run(te, whole, recipe, inp, grad, None)
        here = [part(inp, 2) if kind == "row" else inp, grad if kind == "row" else part(grad, 2)]
        if sequence_parallel:
            place = 1 if kind == "row" else 0
            here[place] = part(here[place], 0)
        found = run(te, mine, recipe, here[0], here[1], group)
        rows = sequence_parallel and kind == "row"
        shares = [
            part(expected[0], 0) if rows else expected[0] if kind == "row" else part(expected[0], 2),
            part(expected[1], 2) if kind == "row" else part(expected[1], 0) if sequence_parallel else expected[1],
            part(expected[2], axis),
        ]
        for one, share in zip(found, shares, strict=True):
            assert_alike(one, share, recipe)
    if kind == "norm":
        assert mine.layer_norm_weight.sequence_parallel == sequence_parallel
        found = mine.layer_norm_weight.grad.float()
        if sequence_parallel:  # of a rank's own tokens
            torch.distributed.all_reduce(found)
        assert_alike(found, whole.layer_norm_weight.grad, recipe)


def assert_alike(found: Tensor, expected: Tensor, recipe: str | None = None) -> None:
    """But for the rounding of sums in bf16, whose order differs, and of FP8 where parts have scales of their own."""
    assert found.shape == expected.shape
    difference = (found.float() - expected.float()).norm() / expected.float().norm()
    assert difference <= (0.1 if recipe == "Float8CurrentScaling" else 0.01), recipe


def run(te: ModuleType, layer: Any, recipe: str | None, inp: Tensor, grad: Tensor, group: Any) -> list[Tensor]:
    inp = inp.clone().requires_grad_()
    layer.zero_grad()
    made = getattr(te.common.recipe, recipe)() if recipe else None
    with te.pytorch.fp8_autocast(enabled=made is not None, fp8_recipe=made, fp8_group=group):
        out = layer(inp)
    out.backward(grad)
    return [out.detach(), inp.grad, layer.weight.grad]


def part(tensor: Tensor, axis: int) -> Tensor:
    return tensor.chunk(torch.distributed.get_world_size(), axis)[torch.distributed.get_rank()].clone()


def compare_attention(te: ModuleType, way: str, window: int | None) -> None:
    size, rank, group = torch.distributed.get_world_size(), torch.distributed.get_rank(), torch.distributed.group.WORLD
    both = (-1, 0) if window is None else (window - 1, 0)
    whole = te.pytorch.DotProductAttention(HEADS, DIM, GROUPS, window_size=both)
    dealt_out = {"cp_group": group, "cp_global_ranks": list(range(size)), "cp_stream": object(), "cp_comm_type": way}
    mine = te.pytorch.DotProductAttention(HEADS, DIM, GROUPS, window_size=both, **dealt_out)
    tensors = [drawn(160, 2, heads, DIM, seed=heads + place) for place, heads in enumerate((HEADS, GROUPS, GROUPS))]
    grad = drawn(160, 2, HEADS * DIM, seed=9)

    def dealt(tensor: Tensor) -> Tensor:
        chunks = tensor.chunk(2 * size)
        return torch.cat([chunks[rank], chunks[2 * size - 1 - rank]])

    complete = [tensor.clone().requires_grad_() for tensor in tensors]
    own = [dealt(tensor).requires_grad_() for tensor in tensors]
    expected = whole(*complete, attn_mask_type="causal")
    expected.backward(grad)
    found = mine(*own, attn_mask_type="causal")
    found.backward(dealt(grad))
    assert_alike(found, dealt(expected))
    for one, other in zip(own, complete, strict=True):
        assert one.grad is not None and other.grad is not None
        assert_alike(one.grad, dealt(other.grad))
