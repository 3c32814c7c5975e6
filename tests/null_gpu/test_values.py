"""The engine of the null GPU's programs: it does all that a step does, whatever the numbers are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from custom_modules.training.engine import Engine
from tests.null_gpu.values import ignore_values
from tests.support.engines import small


@pytest.fixture
def blind_engine(single_process: None) -> Iterator[None]:
    names = ("__init__", "_add_up", "_mean_loss", "evaluate")
    kept = {name: getattr(Engine, name) for name in names}
    ignore_values(Engine)
    yield
    for name, method in kept.items():
        setattr(Engine, name, method)


@pytest.mark.usefixtures("blind_engine")
def test_a_step_on_numbers_that_are_none_is_made_to_its_end() -> None:
    trained = small()
    with torch.no_grad():
        for parameter in trained.engine.chunks[0].parameters():
            parameter.fill_(float("nan"))
    [loss, norm, _], [_, _, validation] = trained.train(1)[:2]
    assert (loss, norm) == (1.0, 1.0)
    assert [found.mean for found in validation] == [1.0] * len(validation)
    assert trained.engine.consumed_tokens
