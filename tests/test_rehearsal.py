"""`make rehearse` at a tenth of its tokens: raw text to a Hugging Face checkpoint, by the cluster's scripts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.curriculum.stages import Curriculum
from tests.conftest import read_metrics

ROOT = Path(__file__).resolve().parents[1]
TENTH = [
    *[
        f"curriculum.stages.stage{n}.tokens={tokens}"
        for n, tokens in ((1, 273_438), (2, 39_063), (3, 39_063), (4, 39_063))
    ],
    "model.optim.sched.warmup_tokens=9216",
    "trainer.val_every_n_tokens=131072",
    "data.validation_fraction=0.01",
]


def rehearse_script() -> str:
    """The commands of the Makefile's target, as `make` would run them with these overrides."""
    dry = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--dry-run",
            "--assume-old=install",
            "rehearse",
            f"OVERRIDES={' '.join(TENTH)}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dry.stdout[dry.stdout.index("begun=") :]


@pytest.mark.slow
def test_from_text_to_hugging_face(tmp_path: Path) -> None:
    for name in ("slurm", "custom_modules", "nemo_configs"):
        (tmp_path / name).symlink_to(ROOT / name)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", rehearse_script()],
        cwd=tmp_path,
        env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    run_dir, export = tmp_path / "runs" / "danube_rehearsal", tmp_path / "exports" / "danube_rehearsal"
    losses = [line["loss"] for line in read_metrics(run_dir)]
    assert losses[0] - losses[-1] > 1
    total = Curriculum.from_config(load_config("danube_rehearsal", TENTH)).total_tokens
    assert read_metrics(run_dir)[-1]["tokens"] == read_metrics(run_dir, "validation")[-1]["tokens"] == total
    assert [line["stage"] for line in read_metrics(run_dir, "validation")][-1] == "stage4"
    largest = [
        float(value) for value in re.findall(r"largest difference of logits, .*: (\S+)", done.stdout + done.stderr)
    ]
    assert len(largest) == 2
    assert max(largest) <= 1e-4
    assert (run_dir / "report" / "figure1.png").read_bytes().startswith(b"\x89PNG")
    page = (run_dir / "report" / "index.html").read_text()
    assert "data:image" in page
    assert not re.search(r"(src|href)=\"https?:", page)
    config = json.loads((export / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["sliding_window"]) == ("mistral", 2048, 256)
