"""Linear layers and norms."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter

from transformer_engine.common.recipe import Recipe
from transformer_engine.pytorch.fp8 import FP8GlobalStateManager, rounded


class TransformerEngineBaseModule(torch.nn.Module):
    """Keeps FP8's history, and saves it as the extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.history: Tensor | None = None
        """``[steps, 2]``: the largest input and weight of each forward pass, the newest first."""
        self.ran: tuple[torch.dtype, Recipe | None] | None = None

    def quantized(self, inp: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Recipe | None]:
        """Input and weight as the linear sees them, and the recipe; None outside `fp8_autocast`."""
        recipe = FP8GlobalStateManager.get_fp8_recipe() if FP8GlobalStateManager.is_fp8_enabled() else None
        self.ran = (inp.dtype, recipe)
        if recipe is None:
            return inp, weight, None
        rows, columns = inp.shape[:-1].numel(), inp.shape[-1]
        assert rows % 8 == 0 and columns % 16 == 0 and weight.shape[0] % 8 == 0 and weight.shape[1] % 16 == 0
        largest = self._largest(inp, weight, recipe) if recipe.delayed() else (None, None)
        return rounded(inp, recipe, largest[0]), rounded(weight, recipe, largest[1]), recipe

    def _largest(self, inp: Tensor, weight: Tensor, recipe: Any) -> Tensor:
        """By the history, which is empty in the first pass; then the pass's own values are added to it."""
        now = torch.stack([inp.detach().abs().amax().float(), weight.detach().abs().amax().float()])
        group = FP8GlobalStateManager.FP8_DISTRIBUTED_GROUP
        if recipe.reduce_amax and group is not None:
            torch.distributed.all_reduce(now, op=torch.distributed.ReduceOp.MAX, group=group)
        if self.history is None:
            self.history = torch.zeros(recipe.amax_history_len, 2)
        used = self.history.amax(dim=0) if recipe.amax_compute_algo == "max" else self.history[0].clone()
        self.history = torch.cat([now[None], self.history[:-1]])
        return torch.where(used > 0, used, now)

    def get_fp8_meta_tensors(self) -> dict[str, list[Tensor]] | None:
        return None if self.history is None else {"scaling_fwd": [self.history.clone()]}

    def reset_fp8_meta_tensors(self, fp8_meta_tensors: dict[str, list[Tensor]] | None = None) -> None:
        if self.history is not None:
            kept = fp8_meta_tensors["scaling_fwd"][0] if fp8_meta_tensors else torch.zeros_like(self.history)
            self.history = kept.clone()

    def get_extra_state(self) -> Tensor:
        if self.history is None:
            return torch.empty(0, dtype=torch.uint8)
        return torch.frombuffer(bytearray(pickle.dumps({"amax_history_fwd": self.history})), dtype=torch.uint8)

    def set_extra_state(self, state: Tensor | None) -> None:
        if state is not None and state.numel():
            self.history = pickle.loads(state.numpy().tobytes())["amax_history_fwd"]


class _Multiply(torch.autograd.Function):
    """``inp @ weight.T``, with the gradient in FP8, and the weight's gradient added to ``main_grad`` where asked."""

    @staticmethod
    def forward(
        ctx: Any, inp: Tensor, weight: Tensor, parameter: Parameter, recipe: Recipe | None, into_main_grad: bool
    ) -> Tensor:
        ctx.save_for_backward(inp, weight)
        ctx.parameter, ctx.recipe, ctx.into_main_grad = parameter, recipe, into_main_grad
        return F.linear(inp, weight)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None, None, None]:
        inp, weight = ctx.saved_tensors
        if ctx.recipe is not None:
            grad = rounded(grad, ctx.recipe, backward=True)
        wgrad = grad.flatten(0, -2).t() @ inp.flatten(0, -2)
        if ctx.into_main_grad:
            ctx.parameter.main_grad.add_(wgrad)
            ctx.parameter.grad_added_to_main_grad = True
            wgrad = torch.empty_like(wgrad)
        return grad @ weight, wgrad, None, None, None


class _ToRanks(torch.autograd.Function):
    """The same input for every tensor-parallel rank; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, inp: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return inp.view_as(inp)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        grad = grad.contiguous()
        torch.distributed.all_reduce(grad, group=ctx.group)
        return grad, None


class _FromRanks(torch.autograd.Function):
    """The sum over the tensor-parallel ranks."""

    @staticmethod
    def forward(ctx: Any, partial: Tensor, group: Any) -> Tensor:
        total = partial.contiguous().clone()
        torch.distributed.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class Linear(TransformerEngineBaseModule):
    """``y = x A^T``."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable | None = None,
        rng_tracker_name: str | None = None,
        init_method: Callable | None = None,
        bias: bool = True,
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        parameters_split: Any = None,
        device: torch.device | str = "cuda",
        ub_overlap_ag: bool = False,
        ub_overlap_rs: bool = False,
        ub_overlap_rs_dgrad: bool = False,
        ub_bulk_dgrad: bool = False,
        ub_bulk_wgrad: bool = False,
        ub_name: str | None = None,
        delay_wgrad_compute: bool = False,
        symmetric_ar_type: str | None = None,
        save_original_input: bool = False,
        name: str | None = None,
    ) -> None:
        super().__init__()
        assert not bias and not sequence_parallel, "not part of the fake"
        self.tp_group = tp_group
        self.tp_size = tp_size if tp_group is None else tp_group.size()
        self.parallel_mode = parallel_mode
        self.fuse_wgrad_accumulation = fuse_wgrad_accumulation
        self.use_bias, self.return_bias = bias, return_bias
        self.save_original_input = save_original_input
        self.in_features = in_features // self.tp_size if parallel_mode == "row" else in_features
        self.out_features = out_features // self.tp_size if parallel_mode == "column" else out_features
        weight = torch.empty(self.out_features, self.in_features, device=device, dtype=params_dtype)
        self.weight = Parameter(weight)
        if init_method is not None:
            with torch.no_grad():
                init_method(self.weight)
        self.bias = torch.Tensor().to(dtype=params_dtype, device=device)
        split = {"partition_dim": 1 if parallel_mode == "row" else 0, "partition_stride": 1}
        self.weight.__dict__.update(split, tensor_model_parallel=True)

    def forward(
        self,
        inp: Tensor,
        is_first_microbatch: bool | None = None,
        fp8_output: bool | None = False,
        fp8_grad: bool | None = False,
    ) -> Tensor:
        together = self.tp_size > 1
        if together and self.parallel_mode == "column":
            inp = _ToRanks.apply(inp, self.tp_group)
        with torch.no_grad():
            values, weight, recipe = self.quantized(inp, self.weight)
        # Straight through the rounding: its gradient is that of the values rounded.
        values, weight = inp + (values - inp).detach(), self.weight + (weight - self.weight).detach()
        if recipe is None:
            values, weight = inp, self.weight
        out = _Multiply.apply(values, weight, self.weight, recipe, self.fuse_wgrad_accumulation)
        return _FromRanks.apply(out, self.tp_group) if together and self.parallel_mode == "row" else out


class LayerNormLinear(Linear):
    """A norm, and a linear layer of its output."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        eps: float = 1e-5,
        sequence_parallel: bool = False,
        fuse_wgrad_accumulation: bool = False,
        tp_group: Any = None,
        tp_size: int = 1,
        get_rng_state_tracker: Callable | None = None,
        init_method: Callable | None = None,
        bias: bool = True,
        normalization: str = "LayerNorm",
        return_bias: bool = False,
        params_dtype: torch.dtype | None = None,
        parallel_mode: str | None = None,
        return_layernorm_output: bool = False,
        return_layernorm_output_gathered: bool = False,
        parameters_split: Any = None,
        zero_centered_gamma: bool = False,
        device: torch.device | str = "cuda",
        ub_overlap_ag: bool = False,
        ub_overlap_rs: bool = False,
        ub_overlap_rs_dgrad: bool = False,
        ub_bulk_wgrad: bool = False,
        ub_bulk_dgrad: bool = False,
        ub_name: str | None = None,
        delay_wgrad_compute: bool = False,
        symmetric_ar_type: str | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(
            in_features,
            out_features,
            sequence_parallel,
            fuse_wgrad_accumulation,
            tp_group,
            tp_size,
            init_method=init_method,
            bias=bias,
            return_bias=return_bias,
            params_dtype=params_dtype,
            parallel_mode=parallel_mode,
            device=device,
        )
        assert normalization == "RMSNorm" and not zero_centered_gamma, "not part of the fake"
        self.eps = eps
        self.layer_norm_weight = Parameter(torch.ones(in_features, device=device, dtype=params_dtype))
        self.layer_norm_weight.__dict__["sequence_parallel"] = False

    def forward(
        self,
        inp: Tensor,
        is_first_microbatch: bool | None = None,
        fp8_output: bool | None = False,
        fp8_grad: bool | None = False,
    ) -> Tensor:
        return super().forward(F.rms_norm(inp, inp.shape[-1:], self.layer_norm_weight, self.eps))


class RMSNorm(torch.nn.Module):
    """Root mean square norm. The real one is one of the ``ops``, whose extra state is empty without a quantizer."""

    def __init__(
        self,
        normalized_shape: Any = None,
        eps: float = 1e-5,
        sequence_parallel: bool | None = None,
        params_dtype: torch.dtype | None = None,
        zero_centered_gamma: bool = False,
        hidden_size: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__()
        self.eps = eps
        shape: Any = hidden_size if normalized_shape is None else normalized_shape
        self.weight = Parameter(torch.ones(shape, device=kwargs["device"], dtype=params_dtype))
        self.weight.__dict__["sequence_parallel"] = sequence_parallel

    def forward(self, inp: Tensor) -> Tensor:
        return F.rms_norm(inp, inp.shape[-1:], self.weight, self.eps)

    def get_extra_state(self) -> Tensor:
        return torch.empty(0, dtype=torch.uint8)

    def set_extra_state(self, state: Tensor | None) -> None:
        assert state is None or state.numel() == 0


class LayerNorm(torch.nn.Module):
    """Named by megatron-core, and not used here."""


class GroupedLinear(torch.nn.Module):
    """Named by megatron-core, and not used here."""
