"""A linear layer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import Parameter

from transformer_engine.pytorch.module.base import TransformerEngineBaseModule
from transformer_engine.pytorch.module.product import Product


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
        assert not bias, "not part of the fake"
        self.set_tensor_parallel_group(tp_group, tp_size)
        self.sequence_parallel = self.tp_size > 1 and sequence_parallel
        self.parallel_mode = parallel_mode
        self.fuse_wgrad_accumulation = fuse_wgrad_accumulation
        self.use_bias, self.return_bias = bias, return_bias
        self.save_original_input = save_original_input
        self.in_features = in_features // self.tp_size if parallel_mode == "row" else in_features
        self.out_features = out_features // self.tp_size if parallel_mode == "column" else out_features
        weight = torch.empty(self.out_features, self.in_features, device=device, dtype=params_dtype)
        self.weight = Parameter(weight)
        self.bias = torch.Tensor().to(dtype=params_dtype, device=device)
        if str(device) != "meta":
            self._initialize(init_method, get_rng_state_tracker)

    def _initialize(self, init_method: Callable | None, get_rng_state_tracker: Callable | None) -> None:
        draws = nullcontext() if get_rng_state_tracker is None else get_rng_state_tracker().fork()
        if init_method is not None:
            with torch.no_grad(), draws:
                init_method(self.weight)
        split = {"partition_dim": 1 if self.parallel_mode == "row" else 0, "partition_stride": 1}
        self.weight.__dict__.update(split, tensor_model_parallel=True)

    def forward(
        self,
        inp: Tensor,
        is_first_microbatch: bool | None = None,
        fp8_output: bool | None = False,
        fp8_grad: bool | None = False,
    ) -> Tensor:
        """Multiply.

        Args:
            is_first_microbatch: of a step: whether the weight may be another than in the last pass, and ``main_grad``
                is to be overwritten. None: it may in each, and it never is.
        """
        with self.prepare_forward(inp):
            return Product.apply(inp, self.weight, self, is_first_microbatch, torch.is_grad_enabled())
