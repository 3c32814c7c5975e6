"""Modules that nothing here uses."""

from __future__ import annotations

import torch


class GroupedLinear(torch.nn.Module):
    """Named by megatron-core, and not used here."""
