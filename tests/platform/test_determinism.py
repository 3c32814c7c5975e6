"""What ``trainer.deterministic`` sets, and what of the environment it refuses."""

from __future__ import annotations

import os

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.plan.plan import build_plan
from custom_modules.plan.render import render_text
from custom_modules.platform import Platform
from tests.support.tiny import TINY

SET = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0", "NCCL_ALGO": "Ring"}
ON = "trainer.deterministic=true"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of the variables, nor after the test."""
    monkeypatch.setattr(os, "environ", {name: value for name, value in os.environ.items() if name not in SET})


def detect(*overrides: str) -> dict[str, str]:
    """What the environment has of the variables, once a run has looked at it."""
    Platform.detect(load_config("danube_rehearsal", [*TINY, "trainer.devices=1", *overrides]))
    return {name: value for name, value in os.environ.items() if name in SET}


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"CUBLAS_WORKSPACE_CONFIG": ":16:8"},
        {"NCCL_ALGO": "^nvls", "NVTE_ALLOW_NONDETERMINISTIC_ALGO": "0"},
        {"NCCL_ALGO": "Ring,CollnetDirect"},
    ],
)
def test_the_environment_is_completed(given: dict[str, str]) -> None:
    os.environ.update(given)
    assert detect() == given
    assert detect(ON) == {**SET, **given}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NVTE_ALLOW_NONDETERMINISTIC_ALGO", "1"),
        ("CUBLAS_WORKSPACE_CONFIG", ":0:0"),
        ("NCCL_ALGO", "Tree"),
        ("NCCL_ALGO", "Ring,NVLS"),
        ("NCCL_ALGO", ""),
    ],
)
def test_an_environment_that_contradicts_it_is_refused(name: str, value: str) -> None:
    os.environ[name] = value
    detect()
    with pytest.raises(UserError, match=rf"^trainer\.deterministic=true: {name}={value} .*unset it, or set it to .+"):
        detect(ON)


def test_torch_refuses_what_is_not_deterministic_meanwhile() -> None:
    config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", ON])
    for overrides, expected in (([ON], True), ([], False)):
        config = load_config("danube_rehearsal", [*TINY, "trainer.devices=1", *overrides])
        with Platform.detect(config).running(config):
            assert torch.are_deterministic_algorithms_enabled() == torch.backends.cudnn.deterministic == expected
            assert not torch.is_deterministic_algorithms_warn_only_enabled()
        assert not torch.are_deterministic_algorithms_enabled() and not torch.backends.cudnn.deterministic


def test_a_run_trains_with_it(single_process: None) -> None:
    """The losses are those without, and the same bits every time."""
    from custom_modules.platform.determinism import deterministic_algorithms
    from tests.support.engines import small

    plain = small().train(2)
    with deterministic_algorithms():
        first, again = small(ON), small(ON)
        losses = first.train(2)
        assert again.train(2) == losses
        weights = again.weights()
        assert all(torch.equal(weight, weights[name]) for name, weight in first.weights().items())
    for one, other in zip(plain, losses, strict=True):
        assert other[:2] == pytest.approx(one[:2], rel=1e-5)


def test_the_plan_says_what_it_costs() -> None:
    with_it, without = (render_text(build_plan(load_config("danube_1_8b", on))) for on in ([ON], []))
    more = [line for line in with_it.splitlines() if line not in without]
    assert "trainer.deterministic" in more[0] and any("17 GB" in line for line in more)
