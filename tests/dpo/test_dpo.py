"""`danube dpo` of a tiny model, from the outside: what it logs, saves, refuses and ends with."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.support.commands import run_danube
from tests.support.preferences import dpo_arguments
from tests.support.runs import checkpoints, read_metrics, records


def train(export: Path, data: Path, runs: Path, name: str, *overrides: str) -> Path:
    ended = run_danube(*dpo_arguments(export, data, runs, name, *overrides), timeout=300)
    assert ended.returncode == 0, ended.stderr
    return runs / name


@pytest.fixture(scope="module")
def trained(export: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run."""
    return train(export, pairs, tmp_path_factory.mktemp("runs"), "whole", "exp_manager.create_tensorboard_logger=true")


def adapter(run_dir: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoints(run_dir)[-1] / "adapter_model.safetensors")


def test_begins_at_ln_2_and_learns(trained: Path) -> None:
    """With dropout on, since an adapter begins as nothing."""
    before, *_, after = read_metrics(trained, "validation")
    assert before["loss"] == pytest.approx(math.log(2), abs=1e-6)
    assert before["preferences"]["margin"] == 0
    assert after["preferences"]["accuracy"] > 0.9
    assert after["loss"] < 0.5


def test_says_of_each_line_what_a_reader_asks(trained: Path) -> None:
    for line in read_metrics(trained):
        told = line["preferences"]
        assert told["margin"] == pytest.approx(told["reward_chosen"] - told["reward_rejected"], abs=1e-5)
        assert told["logp_chosen"] < 0 and told["logp_rejected"] < 0
        assert line["grad_norm"] > 0


def test_tensorboard_has_the_same(trained: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(trained / "tensorboard")).Reload()
    lines = read_metrics(trained)
    for name in ("accuracy", "margin", "reward_chosen", "reward_rejected", "logp_chosen", "logp_rejected"):
        drawn = events.Scalars(f"train/preferences/{name}")
        assert [point.step for point in drawn] == [line["tokens"] for line in lines]
        assert [point.value for point in drawn] == pytest.approx([line["preferences"][name] for line in lines])


def test_same_seed_same_bits(export: Path, pairs: Path, trained: Path, tmp_path: Path) -> None:
    again = train(export, pairs, tmp_path, "again")
    assert records(again) == records(trained)
    ours, theirs = adapter(again), adapter(trained)
    assert ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_a_finished_run_says_so(export: Path, pairs: Path, trained: Path) -> None:
    ended = run_danube(*dpo_arguments(export, pairs, trained.parent, trained.name))
    assert ended.returncode == 0
    assert "the run is finished" in ended.stderr


def test_another_config_is_refused(export: Path, pairs: Path, trained: Path) -> None:
    ended = run_danube(
        *dpo_arguments(export, pairs, trained.parent, trained.name, "model.dpo.ref_policy_kl_penalty=0.3")
    )
    assert ended.returncode == 2
    assert "model.dpo.ref_policy_kl_penalty: 0.2 -> 0.3" in ended.stderr.splitlines()[-1]


def test_a_batch_that_the_processes_do_not_divide_is_refused(export: Path, pairs: Path, tmp_path: Path) -> None:
    ended = run_danube(*dpo_arguments(export, pairs, tmp_path, "odd", "model.global_batch_size=3"))
    assert ended.returncode == 2
    assert "model.global_batch_size=3" in ended.stderr


def test_a_loss_that_is_not_finite_ends_with_3(export: Path, pairs: Path, tmp_path: Path) -> None:
    ended = run_danube(
        *dpo_arguments(export, pairs, tmp_path, "far", "model.optim.lr=1e30", "model.optim.clip_grad=null")
    )
    assert ended.returncode == 3, ended.stderr
    assert "stopped without saving" in ended.stderr


def test_a_base_without_a_chat_template_is_refused(export: Path, pairs: Path, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.mkdir()
    for file in export.iterdir():
        if file.name != "chat_template.jinja":
            (plain / file.name).write_bytes(file.read_bytes())
    ended = run_danube(*dpo_arguments(plain, pairs, tmp_path, "plain_run"))
    assert ended.returncode == 2
    assert "no chat_template.jinja there" in ended.stderr


def test_left_out_pairs_are_said(trained: Path, export: Path, pairs: Path, tmp_path: Path) -> None:
    """Of batches of 4 at least one epoch's end is not whole, for some number of processes."""
    manifest = json.loads((pairs / "manifest.json").read_text())
    count = manifest["splits"]["train"]["samples"]
    size = next(size for size in (3, 4, 5) if count % size)
    run_dir = tmp_path / "left"
    sized = (f"model.global_batch_size={size}", "model.micro_batch_size=1")
    ended = run_danube(*dpo_arguments(export, pairs, tmp_path, run_dir.name, *sized), timeout=300)
    assert f"{count % size:,} left out of each epoch" in ended.stderr
    assert read_metrics(run_dir)[-1]["step"] == count // size


def test_status_and_report_of_a_run(trained: Path) -> None:
    steps = read_metrics(trained)[-1]["step"]
    status = run_danube("status", str(trained), "--json")
    found = json.loads(status.stdout)
    assert (found["step"], found["steps"], found["is_finished"]) == (steps, steps, True)
    assert found["validation_preferences"]["accuracy"] > 0.9
    lines = run_danube("status", str(trained)).stdout
    assert f"{steps:,} of {steps:,}" in lines and "held out    loss" in lines
    drawn = run_danube("report", str(trained))
    assert drawn.returncode == 0, drawn.stderr
    page = (trained / "report" / "index.html").read_text()
    last = read_metrics(trained, "validation")[-1]
    for cell in (f"held out, step {steps}", f"{last['loss']:.4f}", "toy", "model.dpo.ref_policy_kl_penalty"):
        assert cell in page
    assert run_danube("report", str(trained)).returncode == 0, "its own report is written anew"
