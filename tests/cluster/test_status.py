"""How far a run is, from its folder alone."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

Run = subprocess.CompletedProcess[str]


def test_status_of_a_run(danube: Callable[..., Run], tiny: Callable[..., list[str]], tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    refused = danube("status", str(run_dir))
    assert refused.returncode == 2
    assert refused.stderr.startswith(f"danube: {run_dir}: ") and "exp_manager.exp_dir/name" in refused.stderr
    stage1 = "curriculum.stage=stage1"
    assert danube(*tiny("run", "trainer.devices=1", stage1)).returncode == 0
    status = json.loads(danube("status", str(run_dir), "--json").stdout)
    assert (status["stage"], status["is_finished"], status["step"]) == ("stage2", False, 14)
    assert (status["consumed_tokens"], status["stage_end_tokens"], status["total_tokens"]) == (7168, 10240, 10240)
    assert status["eta_seconds"] == pytest.approx((10240 - 7168) / status["tokens_per_second"])
    assert status["checkpoint"].endswith("tokens_000000000000007168")
    assert status["jobs"] == []
    text = danube("status", str(run_dir)).stdout
    assert "tokens      7,168 of 10,240 (70.0%), step 14" in text
    ahead = time.time() + 7200
    os.utime(run_dir / "metrics.jsonl", (ahead, ahead))
    assert re.search(
        r"tokens/s, .* left, logged [12]:\d\d:\d\d ahead of this machine's clock", danube("status", str(run_dir)).stdout
    )
    assert json.loads(danube("status", str(run_dir), "--json").stdout)["seconds_since_metrics"] < -3600
    checked = danube("preflight", *tiny("run", "trainer.devices=1", stage1)[1:])
    assert "stage1 is finished: 7,168 tokens" in checked.stderr
