"""Transformer Engine in bf16 computes what the local layers do: the same weights, below, at and beyond the window."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.gpu import Machine
from tests.support.logits import compare_logits


@pytest.mark.values
@pytest.mark.parametrize("window", [16, pytest.param(256, marks=pytest.mark.needs_gpu)])
@pytest.mark.usefixtures("transformer_engine")
def test_transformer_engine_against_local(machine: Machine, window: int, print_figure: Callable[[str], None]) -> None:
    for errors in compare_logits(machine, window):
        print_figure(str(errors))
        assert errors.are_small
