"""A run that has lost its checkpoints is refused; one that never published any begins anew."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.cluster.status import read_status
from custom_modules.cluster.submission import plan_submission
from custom_modules.config.load import load_config
from custom_modules.conversion import to_hf
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import find_newest
from tests.support import kills
from tests.support.commands import environment, start_danube
from tests.support.runs import assert_same_run, checkpoints, records
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
Damage = Callable[[Path], object]
STAGE_1 = "curriculum.stage=stage1"


@pytest.fixture(scope="module")
def finished(danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that has trained its first stage, with one process."""
    folder = tmp_path_factory.mktemp("finished")
    names = [f"data.dir={prepared}", f"exp_manager.exp_dir={folder}", "exp_manager.name=run", "trainer.devices=1"]
    done = danube("pretrain", "--config-name", "danube_rehearsal", *TINY, STAGE_1, *names)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.fixture
def run_dir(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def without_hidden_files(run_dir: Path) -> None:
    for path in [path for path in run_dir.rglob(".*") if path.is_file()]:
        path.unlink()


def cut_weights(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/dist/__0_0.distcp"):
        path.write_bytes(path.read_bytes()[:-1])


def altered_weights(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/dist/__0_0.distcp"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)


def another_format(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/metadata.json"):
        path.write_text(json.dumps({**json.loads(path.read_text()), "format": 2}))


def no_object(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/metadata.json"):
        path.write_text("[]")


def metadata_without_files(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/metadata.json"):
        plain = json.loads(path.read_text())
        path.write_text(json.dumps({**plain, "files": {name: {} for name in plain["files"]}}))


def unreadable(run_dir: Path) -> None:
    for path in run_dir.glob("checkpoints/*/metadata.json"):
        path.unlink()
        path.mkdir()


def folders_gone(run_dir: Path) -> None:
    for path in checkpoints(run_dir):
        shutil.rmtree(path)


def all_gone(run_dir: Path) -> None:
    shutil.rmtree(run_dir / "checkpoints")


LOSSES: list[tuple[Damage, str]] = [
    (without_hidden_files, "dist/.metadata is missing"),
    (cut_weights, "dist/__0_0.distcp has "),
    (another_format, "checkpoint format 2, but this program reads 1"),
    (no_object, "metadata.json is no JSON object"),
    (metadata_without_files, "metadata.json does not describe "),
    (unreadable, "metadata.json is missing or unreadable"),
    (folders_gone, "there was one of 7,168 tokens"),
    (all_gone, "there was one of 7,168 tokens"),
]


@pytest.mark.parametrize(("lose", "why"), LOSSES)
def test_every_command_that_looks_for_the_newest_refuses(
    lose: Damage, why: str, prepared: Path, run_dir: Path, tmp_path: Path
) -> None:
    lose(run_dir)
    folders = [f"data.dir={prepared}", f"exp_manager.exp_dir={tmp_path}", "exp_manager.name=run", "trainer.devices=1"]
    config = load_config("danube_rehearsal", [*TINY, *folders])
    looks: list[Callable[[], object]] = [
        lambda: find_newest(run_dir),
        lambda: read_status(run_dir),
        lambda: to_hf(run_dir, tmp_path / "model"),
        lambda: list(plan_submission(config, None, None, None)),
    ]
    for look in looks:
        with pytest.raises(UserError) as refused:
            look()
        message = str(refused.value)
        assert message.startswith(f"{run_dir / 'checkpoints'}: no whole checkpoint is left (")
        assert why in message
        assert message.endswith("(cp -a, rsync -a), or set another exp_manager.name to begin anew")


@pytest.mark.parametrize(
    ("lose", "devices"),
    [
        (altered_weights, 2),
        pytest.param(without_hidden_files, 1, marks=pytest.mark.slow),
        pytest.param(all_gone, 2, marks=pytest.mark.slow),
    ],
)
def test_pretrain_and_preflight_refuse_and_leave_the_history(
    lose: Damage,
    devices: int,
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    run_dir: Path,
) -> None:
    before = records(run_dir)
    lose(run_dir)
    refused = danube(*tiny("run", f"trainer.devices={devices}"))
    assert refused.returncode == 2
    last = refused.stderr.splitlines()[-1]
    assert last.startswith(f"danube: {run_dir / 'checkpoints'}: no whole checkpoint is left (")
    assert "Traceback" not in refused.stderr
    assert records(run_dir) == before
    if lose is not altered_weights:  # whose sizes are right: preflight reads no contents
        checked = danube("preflight", *tiny("run", f"trainer.devices={devices}")[1:])
        assert checked.returncode == 2
        assert f"preflight: progress: {run_dir / 'checkpoints'}: no whole checkpoint is left (" in checked.stderr


@pytest.mark.slow
@pytest.mark.parametrize("moment", [r"os\.mkdir checkpoints/\.tokens_H\.partial.*", "os.rename checkpoints/tokens_H"])
def test_killed_before_or_in_the_first_save(
    moment: str,
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    finished: Path,
) -> None:
    kill = kills.KillAt(str(tmp_path / "run"), moment)
    process = start_danube(*tiny("run", "trainer.devices=1", STAGE_1), env={**environment(), **kill.environment()})
    kills.assert_killed(process)
    assert len(records(tmp_path / "run")) >= 3, "it had trained up to its first save"
    assert checkpoints(tmp_path / "run") == []
    assert "none yet" in danube("status", str(tmp_path / "run")).stdout
    again = danube(*tiny("run", "trainer.devices=1", STAGE_1))
    assert again.returncode == 0, again.stderr
    assert "has published no checkpoint: it begins anew" in again.stderr
    assert_same_run(finished, tmp_path / "run")
    fresh = danube(*tiny("fresh", "trainer.devices=1", STAGE_1))
    assert "begins anew" not in fresh.stderr
