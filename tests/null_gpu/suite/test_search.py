"""What a search takes for what fits an H100 does at full size, and needs there what the plan counts, within 2%."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from custom_modules.bench.search.records import Records
from custom_modules.bench.search.space import Space
from custom_modules.bench.search.trials import Held
from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.plan.memory import fullest_device
from tests.null_gpu.environments import Environment
from tests.null_gpu.run import NO_LARGE_COPIES, run_python
from tests.null_gpu.suite.test_memory import ATTENTION_WORKSPACE, GIGABYTES, TOLERANCE

MINUTES = 15
SECONDS = 1800
"""Of CPU."""
WORDS = ["trainer.devices=1", "trainer.accelerator=gpu", "model.global_batch_tokens=131072"]
STAGE = "stage1"


def test_what_fits(environment: Environment, tmp_path: Path, print_figure: Any) -> None:
    search = ["bench", "--search", f"--minutes={MINUTES}", f"--output={tmp_path}", f"--stages={STAGE}", "--json"]
    ended = run_python(
        environment,
        *("-m", "custom_modules.cli", *search, "--random-tokens", *WORDS),
        gigabytes=GIGABYTES,
        seconds=SECONDS,
        variables=NO_LARGE_COPIES,
    )
    assert ended.code == 0, ended.output[-8000:]
    assert json.loads(ended.stdout)["rows"]
    records = Records(tmp_path)
    assert records.question is not None
    machine = records.question.machine
    assert (machine.accelerator, machine.count, set(machine.fp8_recipes)) == (
        "gpu",
        8,
        {"blockwise", "delayed", "tensorwise"},
    )
    held = Held(records.question.held)
    space = Space(load_config("danube_1_8b", WORDS), machine, held, records.question.stages)
    apart = {}
    for measured in records.measured:
        assert measured.timing is not None, measured
        config = space.trial_config(measured.trial)
        stage = Curriculum.from_config(config).stage(STAGE)
        workspace = ATTENTION_WORKSPACE * stage.micro_batch_size * stage.seq_length
        planned = fullest_device(config, stage, on_cpu=False).total
        share = (measured.timing.memory_bytes + workspace) / planned - 1
        name = f"{config.model.fp8 and config.model.fp8_recipe}, {measured.trial.size}"
        print_figure(f"{name}: planned {planned / 1e9:.2f} GB ({share:+.1%})")
        apart[name] = share
    assert len({dict(measured.trial.setting)["model.fp8_recipe"] for measured in records.measured}) > 1
    assert {name: share for name, share in apart.items() if abs(share) > TOLERANCE} == {}
