"""`compare_logits` in a process of its own: a JSON object for each length of each window that is named."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict

from custom_modules.platform.launch import die_with_launcher
from tests.fake_transformer_engine.danube import as_on_a_gpu
from tests.gpu_day.machines import machine_of
from tests.support.logits import compare_logits


def main(size: str, windows: list[str]) -> None:
    die_with_launcher()
    machine = machine_of(size)
    if machine.accelerator == "cpu":
        as_on_a_gpu()
    for window in windows:
        for errors in compare_logits(machine, int(window)):
            print(json.dumps({**asdict(errors), "are_small": errors.are_small, "said": str(errors)}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
