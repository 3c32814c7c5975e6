"""Killed, stopped or damaged: the same command ends with the losses and weights of a run that was left alone."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import find_newest
from custom_modules.run_folder.compatibility import check_resumable
from tests.support import kills, no_flock
from tests.support.commands import environment, start_danube
from tests.support.runs import assert_same_run, checkpoints, read_metrics, records
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
OPTIMIZERS = ["adamw", pytest.param("distributed_fused_adam", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def undisturbed(
    danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Path]:
    """A finished run of two processes with a given optimizer; made once."""
    folder = tmp_path_factory.mktemp("undisturbed")

    def run(optimizer: str) -> Path:
        if not (folder / optimizer).exists():
            done = danube(
                *["pretrain", "--config-name", "danube_rehearsal", *TINY, f"data.dir={prepared}", "trainer.devices=2"],
                *[f"exp_manager.exp_dir={folder}", f"exp_manager.name={optimizer}", f"model.optim.name={optimizer}"],
            )
            assert done.returncode == 0, done.stderr
        return folder / optimizer

    return run


def wait_for(process: subprocess.Popen[str], pattern: str) -> str:
    """Read the log up to a line that matches."""
    assert process.stderr is not None
    seen = ""
    for line in process.stderr:
        seen += line
        if re.search(pattern, line):
            return seen
    raise AssertionError(f"no {pattern!r} in:\n{seen}")


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a run that has not ended by itself, and give its workers the moment they need to be gone too."""
    kills.kill(process)
    time.sleep(0.5)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_kill_9(
    optimizer: str, danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    arguments = tiny("run", "trainer.devices=2", f"model.optim.name={optimizer}")
    process = start_danube(*arguments)
    wait_for(process, r"step 13 ")
    kill(process)
    # A busy machine lets it come a few steps further before the signal is there.
    *_, newest = checkpoints(tmp_path / "run")
    assert "04096" <= newest.name[-5:] < "10240"
    resumed = danube(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert "resuming from" in resumed.stderr
    assert_same_run(undisturbed(optimizer), tmp_path / "run")


@pytest.mark.slow
def test_kill_9_at_any_moment(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    """A checkpoint after every step, and one kill after another: during the start, and at moments spread over a step
    and its save. By turns the folder is held with flock and where there is none."""
    locks = no_flock.by_turns()
    arguments = tiny("run", "trainer.devices=2", "exp_manager.checkpoint_callback_params.every_n_train_tokens=512")
    process = start_danube(*arguments, env={**environment(), **next(locks)})
    wait_for(process, r"saved ")
    saved = time.monotonic()
    wait_for(process, r"saved ")
    between_saves = time.monotonic() - saved
    kill(process)
    for line, wait in [("resuming from", 0.0), *(("saved ", between_saves * moment / 6) for moment in range(6))]:
        process = start_danube(*arguments, env={**environment(), **next(locks)})
        wait_for(process, line)
        time.sleep(wait)
        kill(process)
    resumed = danube(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(undisturbed("adamw"), tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize(
    "number",
    [
        signal.SIGTERM,
        pytest.param(signal.SIGUSR1, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, marks=pytest.mark.slow),
    ],
)
def test_stop_signals(
    number: signal.Signals, danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    arguments = tiny("run", "trainer.devices=2")
    process = start_danube(*arguments)
    wait_for(process, r"step 5 ")
    process.send_signal(number)
    _, rest = process.communicate(timeout=60)
    assert process.returncode == 75
    last = rest.strip().splitlines()[-1]
    assert last.startswith(f"danube: {number.name}: saved {tmp_path / 'run' / 'checkpoints' / 'tokens_'}")
    assert "Traceback" not in rest
    resumed = danube(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(undisturbed("adamw"), tmp_path / "run")


LAYOUTS = [
    ["trainer.devices=1"],
    ["trainer.devices=2", "model.tensor_model_parallel_size=2"],
    ["trainer.devices=2", "model.pipeline_model_parallel_size=2"],
]


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["adamw", "distributed_fused_adam"])
@pytest.mark.parametrize("layout", LAYOUTS, ids=["dp1", "tp2", "pp2"])
def test_another_layout_goes_on(
    optimizer: str,
    layout: list[str],
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    undisturbed: Any,
) -> None:
    """It takes the checkpoint of two data-parallel processes, and these take the new layout's own again."""
    shutil.copytree(undisturbed(optimizer), tmp_path / "run")
    forget_after(tmp_path / "run", 7168)
    common = [f"model.optim.name={optimizer}"]
    halfway = "exp_manager.checkpoint_callback_params.every_n_train_tokens=1024"
    done = danube(*tiny("run", *common, *layout, halfway))
    assert done.returncode == 0, done.stderr
    assert "resuming from" in done.stderr
    assert_close_to(undisturbed(optimizer), tmp_path / "run")
    forget_after(tmp_path / "run", 9216)
    back = danube(*tiny("run", *common, "trainer.devices=2"))
    assert back.returncode == 0, back.stderr
    assert_close_to(undisturbed(optimizer), tmp_path / "run")


def forget_after(run_dir: Path, tokens: int) -> None:
    for path in checkpoints(run_dir):
        if int(path.name.removeprefix("tokens_")) > tokens:
            shutil.rmtree(path)
    assert checkpoints(run_dir)[-1].name.endswith(str(tokens))


def assert_close_to(expected: Path, found: Path) -> None:
    pairs = list(zip(read_metrics(expected), read_metrics(found), strict=True))
    assert len(pairs) == 20
    for one, other in pairs:
        assert other["loss"] == pytest.approx(one["loss"], rel=1e-3), one["step"]


def test_a_damaged_checkpoint_is_named_skipped_and_kept(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    shutil.copytree(undisturbed("adamw"), tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    [file, *_] = newest.glob("dist/*.distcp")
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    resumed = danube(*tiny("run", "trainer.devices=2"))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{newest}: damaged: the contents of dist/{file.name} changed" in resumed.stderr
    kept = newest.with_name(f"damaged_0_{newest.name}") / "dist" / file.name
    assert kept.read_bytes() == content
    assert_same_run(undisturbed("adamw"), tmp_path / "run")


def test_unfinished_saves_are_no_checkpoints(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    shutil.copytree(undisturbed("adamw"), tmp_path / "run")
    newest = checkpoints(tmp_path / "run")[-1]
    newest.rename(newest.with_name(f".{newest.name}.partial"))
    truncated = checkpoints(tmp_path / "run")[-1] / "metadata.json"
    truncated.write_text(truncated.read_text()[:100])
    resumed = danube(*tiny("run", "trainer.devices=2"))
    assert resumed.returncode == 0, resumed.stderr
    assert f"{truncated.parent}: not a whole checkpoint" in resumed.stderr
    assert_same_run(undisturbed("adamw"), tmp_path / "run")


def test_what_is_kept(undisturbed: Any) -> None:
    """The last two of five, and the end of each stage."""
    names = [int(path.name.removeprefix("tokens_")) for path in checkpoints(undisturbed("adamw"))]
    assert names == [7168, 8192, 10240]
    metadata = json.loads((checkpoints(undisturbed("adamw"))[0] / "metadata.json").read_text())
    assert metadata["is_stage_end"]
    assert metadata["stage"] == "stage1"
    assert [path.name for path in (undisturbed("adamw") / "checkpoints").iterdir() if path.name[0] == "."] == []


def test_a_finished_run_says_so(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    shutil.copytree(undisturbed("adamw"), tmp_path / "run")
    again = danube(*tiny("run", "trainer.devices=2"))
    assert again.returncode == 0
    assert "stage2 is finished" in again.stderr
    stage = danube(*tiny("run", "trainer.devices=2", "curriculum.stage=stage1"))
    assert stage.returncode == 0
    assert "stage1 is finished" in stage.stderr
    assert records(tmp_path / "run") == records(undisturbed("adamw"))


@pytest.mark.slow
def test_stages_one_by_one_are_the_run_in_one_go(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    early = danube(*tiny("run", "trainer.devices=2", "curriculum.stage=stage2"))
    assert early.returncode == 2
    assert "curriculum.stage=stage2: starts at 7,168 tokens" in early.stderr
    for stage in ("stage1", "stage2"):
        done = danube(*tiny("run", "trainer.devices=2", f"curriculum.stage={stage}"))
        assert done.returncode == 0, done.stderr
    assert_same_run(undisturbed("adamw"), tmp_path / "run")


def test_a_config_that_contradicts_the_checkpoint(
    danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path, undisturbed: Any
) -> None:
    shutil.copytree(undisturbed("adamw"), tmp_path / "run")
    refused = danube(*tiny("run", "trainer.devices=1", "model.optim.lr=1e-3", "model.seed=1"))
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert "(checkpoint -> config): model.optim.lr: 0.004 -> 0.001; model.seed: 1234 -> 1;" in refused.stderr


def check(run_dir: Path, data: Path, *overrides: str) -> None:
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={data}", "trainer.devices=1", *overrides])
    checkpoint, _ = find_newest(run_dir)
    assert checkpoint is not None
    check_resumable(config, Curriculum.from_config(config), load_manifest(config), checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("override", "difference"),
    [
        ("curriculum.stages.stage2.tokens=4000", "curriculum.stages.stage2.tokens: 3000 -> 4000"),
        ("model.sliding_window=null", "model.sliding_window: 48 -> None"),
        ("model.optim.name=distributed_fused_adam", "model.optim.name: adamw -> distributed_fused_adam"),
        ("trainer.precision=bf16-mixed", "trainer.precision: 32-true -> bf16-mixed"),
        ("model.global_batch_tokens=256", "model.global_batch_tokens: 512 -> 256"),
        ("model.rampup_batch_tokens=[256,256,2048]", "model.rampup_batch_tokens: None -> [256, 256, 2048]"),
        (
            "curriculum.stages.stage2.global_batch_tokens=512",
            "curriculum.stages.stage2.global_batch_tokens: None -> 512",
        ),
        ("model.encoder_seq_length=32", "model.encoder_seq_length: None -> 32"),
    ],
)
def test_what_may_not_change(override: str, difference: str, prepared: Path, undisturbed: Any) -> None:
    with pytest.raises(UserError, match=rf"\(checkpoint -> config\): {re.escape(difference)};"):
        check(undisturbed("adamw"), prepared, override)


@pytest.mark.parametrize(
    "override",
    [
        "trainer.devices=2",
        "model.tensor_model_parallel_size=1",
        "model.micro_batch_size=1",
        "model.micro_batch_tokens=64",
        "curriculum.stages.stage2.micro_batch_tokens=64",
        "trainer.val_every_n_tokens=512",
        "exp_manager.checkpoint_callback_params.save_last_n=9",
        "curriculum.stage=stage2",
        "data.workers=3",
        "name=another",
    ],
)
def test_what_may_change(override: str, prepared: Path, undisturbed: Any) -> None:
    check(undisturbed("adamw"), prepared, override)


def test_another_tokenizer_or_other_data(prepared: Path, tmp_path: Path, undisturbed: Any) -> None:
    shutil.copytree(prepared, tmp_path / "data")
    path = tmp_path / "data" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["stages"]["stage1"]["train"][0]["sha256"]["bin"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match="stage1 was trained on other data"):
        check(undisturbed("adamw"), tmp_path / "data")
    manifest["tokenizer"]["sha256"] = "0" * 64
    path.write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=f"trained with tokenizer .* was prepared with {'0' * 64}"):
        check(undisturbed("adamw"), tmp_path / "data")


def test_the_launchers_death_takes_the_workers_along(tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    process = start_danube(*tiny("run", "trainer.devices=2"))
    wait_for(process, r"step 2 ")
    workers = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    assert len(workers) == 2
    kills.kill(process)
    deadline = time.monotonic() + 10
    while any(is_running(pid) for pid in workers):
        assert time.monotonic() < deadline, "a worker outlived its launcher"
        time.sleep(0.1)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (ProcessLookupError, FileNotFoundError):
        return False
