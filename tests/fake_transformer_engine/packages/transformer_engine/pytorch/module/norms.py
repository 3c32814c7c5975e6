"""Norms by themselves."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn import Parameter


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
