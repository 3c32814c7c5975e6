"""FP8 learns what bf16 learns, goes on after a stop as if it had not been stopped, and is worth as much in bf16."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.gpu import HAS_GPU, Machine
from tests.support.runs import STRETCH, assert_same_run, read_metrics, worst_stretch
from tests.support.tiny import prepare

pytestmark = pytest.mark.usefixtures("transformer_engine")
Run = subprocess.CompletedProcess[str]
FP8 = "model.fp8=hybrid"
KINDS = {
    "recomputed": ["model.activations_checkpoint_granularity=full", "model.cross_entropy_chunk_size=512"],
    "dry": ["trainer.dry_run=true"],
    "not_dry": ["trainer.dry_run=false"],
    "deterministic": ["trainer.deterministic=true"],
    "deterministic_again": ["trainer.deterministic=true"],
}
"""What a run has beside others, by what follows the first ``_`` of its name."""


@pytest.fixture(scope="module")
def arguments(
    machine: Machine, danube: Callable[..., Run], tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., list[str]]:
    """Arguments of `danube pretrain` for the rehearsal's model, at twice its window, on data prepared once."""
    folder = tmp_path_factory.mktemp("gpu")
    overrides = machine.comparison
    if HAS_GPU:
        data = folder / "data"
        danube("prepare", "--config-name", "danube_rehearsal", *overrides, f"data.dir={data}")
    else:
        data = prepare(folder, 700, overrides)

    def of(name: str, *more: str) -> list[str]:
        folders = [f"data.dir={data}", f"exp_manager.exp_dir={folder / 'runs'}", f"exp_manager.name={name}"]
        return ["pretrain", "--config-name", "danube_rehearsal", *overrides, machine.here, *folders, *more]

    return of


@pytest.fixture(scope="module")
def finished(arguments: Callable[..., list[str]], danube: Callable[..., Run]) -> Callable[[str], Path]:
    """A finished run by name, each trained once: bf16, fp8, fp8 again, or fp8 of a kind."""
    runs: dict[str, Path] = {}

    def run(name: str) -> Path:
        if name not in runs:
            kind = name.partition("_")[2]
            command = arguments(name, *([FP8] if name.startswith("fp8") else []), *KINDS.get(kind, []))
            danube(*command)
            runs[name] = run_dir(command)
        return runs[name]

    return run


def run_dir(command: list[str]) -> Path:
    """Return the run folder that a command's arguments name."""
    values = dict(word.split("=", 1) for word in command if word.startswith("exp_manager."))
    return Path(values["exp_manager.exp_dir"], values["exp_manager.name"])


def losses(run: Path) -> list[float]:
    return [line["loss"] for line in read_metrics(run)]


@pytest.mark.values
def test_fp8_learns_what_bf16_does(
    machine: Machine, finished: Callable[[str], Path], print_figure: Callable[[str], None]
) -> None:
    """Within 1%: every stretch of the training loss, and the validation loss at the end."""
    bf16, fp8 = finished("bf16"), finished("fp8")
    ours, theirs = losses(fp8), losses(bf16)
    assert len(ours) == len(theirs) == machine.steps
    assert theirs[-1] < theirs[0] - 0.1
    worst = worst_stretch(ours, theirs)
    validation = [read_metrics(run, "validation")[-1]["loss"] for run in (fp8, bf16)]
    print_figure(
        f"{machine.steps} steps: loss {ours[-1]:.4f} in FP8, {theirs[-1]:.4f} in bf16, worst stretch of {STRETCH} "
        f"{worst:.2%} apart; validation {validation[0]:.4f} and {validation[1]:.4f}"
    )
    assert worst <= 0.01
    assert abs(validation[0] / validation[1] - 1) <= 0.01


def test_stopped_and_resumed(
    machine: Machine,
    arguments: Callable[..., list[str]],
    danube: Callable[..., Run],
    finished: Callable[[str], Path],
    print_figure: Callable[[str], None],
) -> None:
    """It is as near to a run that was left alone as such a run is to itself: bit for bit where the kernels are."""
    whole, again = losses(finished("fp8")), losses(finished("fp8_again"))
    command = arguments("fp8_stopped", FP8)
    half = machine.steps // 2
    with subprocess.Popen(
        [*machine.program, *command], env=machine.environment, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(rf"step {half} ", line):
                process.send_signal(signal.SIGTERM)
                break
        rest = process.stderr.read()
    assert process.returncode == 75, rest
    assert "resuming from" in danube(*command).stderr
    stopped = losses(run_dir(command))
    assert len(stopped) == machine.steps

    def apart(run: list[float]) -> float:
        return max(abs(one - other) for one, other in zip(run, whole, strict=True))

    print_figure(
        f"loss over {machine.steps} steps, most: two runs {apart(again):.2e} apart, a resumed one {apart(stopped):.2e}"
    )
    assert apart(stopped) <= 3 * apart(again)


def test_after_a_dry_run(finished: Callable[[str], Path], print_figure: Callable[[str], None]) -> None:
    """It is as near to a run without one as two runs are to each other: bit for bit where the kernels are."""

    def apart(one: str, other: str) -> float:
        pairs = zip(losses(finished(one)), losses(finished(other)), strict=True)
        return max(abs(first - second) for first, second in pairs)

    found, noise = apart("fp8_dry", "fp8_not_dry"), apart("fp8", "fp8_again")
    print_figure(f"loss after a dry run: {found:.2e} from one without, most; two runs {noise:.2e} apart")
    assert found <= 3 * noise


@pytest.mark.values
def test_deterministic(finished: Callable[[str], Path]) -> None:
    """On the same GPU `trainer.deterministic` gives the same bits again."""
    assert_same_run(finished("fp8_deterministic"), finished("fp8_deterministic_again"))


@pytest.mark.needs_gpu
def test_recomputed_and_in_chunks(finished: Callable[[str], Path], print_figure: Callable[[str], None]) -> None:
    """Transformer Engine recomputes by a checkpoint of its own, which the fake Transformer Engine has not."""
    pairs = zip(losses(finished("fp8")), losses(finished("fp8_recomputed")), strict=True)
    apart = max(abs(one - other) for one, other in pairs)
    print_figure(f"full recomputation and the loss in chunks: losses {apart:.2e} apart at most")
    assert apart <= 0.01


@pytest.mark.values
def test_an_fp8_run_is_worth_as_much_in_bf16(
    finished: Callable[[str], Path], danube: Callable[..., Run], tmp_path: Path, print_figure: Callable[[str], None]
) -> None:
    done = danube("convert", "to-hf", str(finished("fp8")), str(tmp_path / "export"), "--verify")
    compared = [line for line in done.stderr.splitlines() if "validation loss" in line]
    assert compared, done.stderr
    print_figure(compared[-1])
