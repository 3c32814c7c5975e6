"""Converts the full 1.83B model, against copying the same files and re-hashing. Run by ``python -m benchmarks``.

The peer copies every file that the command reads, puts it on the disk, and computes the copy's SHA-256 by reading it.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PAIRS = 3
CONFIG = "danube_1_8b"
FOLDERS = 3
"""How many are on the disk at once: the model, its checkpoint, and what is written from it."""
SPARE_BYTES = 1 << 30


@dataclass(frozen=True)
class Run:
    seconds: float
    """What the whole command took, start-up included."""
    peak_bytes: int
    """The most memory that was resident (``ru_maxrss``), pages of mapped files included."""


def make(folder: Path) -> None:
    """A `MistralForCausalLM` of the published shape: random bf16 weights in one file."""
    import pydoc_data.topics

    import torch
    from safetensors.torch import save_file

    from custom_modules.config.load import load_config
    from custom_modules.conversion.hf_config import config_json
    from custom_modules.conversion.layout import blocks
    from data_prep.tokenize.train_tokenizer import train_tokenizer

    config = load_config(CONFIG)
    generator = torch.Generator().manual_seed(0)
    shapes = {name: shape for block in blocks(config.model) for name, shape in block.parts.items()}
    weights = {
        name: torch.empty(shape, dtype=torch.bfloat16).normal_(0, 0.02, generator=generator)
        for name, shape in shapes.items()
    }
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config_json(config, torch.bfloat16, eos_id=2)))
    (folder / "tokenizer.model").write_bytes(train_tokenizer(sorted(pydoc_data.topics.topics.values())[:40], 500))


def compare(one: Path, other: Path) -> None:
    """Assert that two Hugging Face folders hold the same tensors, bit for bit."""
    import torch
    from safetensors import safe_open

    with contextlib.ExitStack() as stack:
        places = []
        for folder in (one, other):
            files = [stack.enter_context(safe_open(path, "pt")) for path in sorted(folder.glob("*.safetensors"))]
            places.append({name: file for file in files for name in file.keys()})  # noqa: SIM118
        assert places[0].keys() == places[1].keys()
        for name, file in places[0].items():
            first, second = file.get_tensor(name), places[1][name].get_tensor(name)
            assert first.dtype == second.dtype and first.shape == second.shape, name
            assert torch.equal(first.view(torch.int16), second.view(torch.int16)), name


def peer(source: Path, output: Path) -> None:
    from custom_modules.files import sha256_of, sync

    shutil.copytree(source, output)
    for path in output.rglob("*"):
        if path.is_file():
            sync(path)
            sha256_of(path)


def timed(*command: str) -> Run:
    begun = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    error = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - begun
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(error.decode())
    return Run(seconds, usage.ru_maxrss * 1024)


def here(what: str, *paths: Path) -> list[str]:
    return ["benchmarks.conversion", what, *map(str, paths)]


def bench_conversion() -> None:
    from custom_modules.config.load import load_config
    from custom_modules.plan.parameters import count_parameters

    weights = 2 * count_parameters(load_config(CONFIG).model).total
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        free, needed = shutil.disk_usage(work).free, FOLDERS * weights + SPARE_BYTES
        if free < needed:
            print(f"\nConversion of {CONFIG}: not measured, {work.parent} has {free:,} bytes free, not {needed:,}")
            return
        model, run, output = work / "model", work / "run", work / "output"
        model.mkdir()
        timed(*here("make", model))
        convert = ["custom_modules.cli", "convert"]
        commands = {
            "from-hf": (model, [*convert, "from-hf", str(model), str(run), "--config-name", CONFIG]),
            "to-hf": (run, [*convert, "to-hf", str(run), str(output)]),
        }
        print(f"\nConversion of {CONFIG}, {weights / 1e9:.2f} GB of bf16 weights, median of {PAIRS} pairs run in turn")
        print(f"{'':>12}  {'seconds':>8}  {'copy and re-hash':>16}  {'ratio (each pair)':<24}  peak memory / weights")
        for name, (source, command) in commands.items():
            ours, copies = [], []
            for _ in range(PAIRS):
                for written in (output, run) if name == "from-hf" else (output,):
                    shutil.rmtree(written, ignore_errors=True)
                copies.append(timed(*here("peer", source, output)))
                shutil.rmtree(output)
                ours.append(timed(*command))
            ratios = [mine.seconds / other.seconds for mine, other in zip(ours, copies, strict=True)]
            each = " ".join(f"{ratio:.2f}" for ratio in ratios)
            print(
                f"{name:>12}  {statistics.median(run.seconds for run in ours):8.1f}  "
                f"{statistics.median(run.seconds for run in copies):16.1f}  "
                f"{f'{statistics.median(ratios):.2f} ({each})':<24}  "
                f"{max(run.peak_bytes for run in ours) / weights:.2f}",
                flush=True,
            )
        timed(*here("compare", model, output))
        print("model -> checkpoint -> model: the same tensors, bit for bit")


if __name__ == "__main__":
    if len(sys.argv) == 1:
        bench_conversion()
    else:
        commands: dict[str, Callable[..., None]] = {"make": make, "peer": peer, "compare": compare}
        commands[sys.argv[1]](*map(Path, sys.argv[2:]))
