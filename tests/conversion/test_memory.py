"""Conversion holds a file of weights or a tensor at a time, never the model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.conversion.dist_writer import write_dist
from custom_modules.training import checkpoint_files

OVERRIDES = ["model.num_layers=12", "model.hidden_size=1280", "model.ffn_hidden_size=3456", "model.vocab_size=16000"]
"""Half of Danube's width and layers: 460 MB in bf16."""
SHARD_BYTES = 64 * 1024**2
"""The same share of the weights as in a full export."""

MEASURE = """
import resource, sys
from pathlib import Path
from custom_modules.conversion import remap_tokenizer, to_hf
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
source, output, other = map(Path, sys.argv[1:4])
before = peak()
{command}
print(before, peak())
"""
COMMANDS = {
    "to_hf": f"to_hf(source, output, shard_bytes={SHARD_BYTES})",
    "remap_tokenizer": "remap_tokenizer(source, output, other)",
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_peak(command: str, tokenizer_model: Path, mistral: Path, tmp_path: Path) -> None:
    config = load_config("danube_1_8b", OVERRIDES)
    checkpoint = tmp_path / "run" / "checkpoints" / checkpoint_files.folder_name(0)
    (checkpoint / "dist").mkdir(parents=True)
    (checkpoint / "tokenizer").mkdir()
    shutil.copyfile(tokenizer_model, checkpoint / "tokenizer" / "tokenizer.model")
    write_dist(
        checkpoint / "dist", config.model, torch.bfloat16, lambda block: torch.ones(block.shape, dtype=torch.bfloat16)
    )
    metadata = {"format": 1, "config": config.model_dump(mode="json"), "files": {}}
    (checkpoint / "metadata.json").write_text(json.dumps(metadata))
    measured = subprocess.run(
        [sys.executable, "-c", MEASURE.format(command=COMMANDS[command]), checkpoint, tmp_path / "new", mistral],
        capture_output=True,
        text=True,
        check=True,
    )
    before, peak = map(int, measured.stdout.split())
    written = [path for path in (tmp_path / "new").rglob("*") if path.suffix in (".safetensors", ".distcp")]
    weights = sum(path.stat().st_size for path in written)
    assert weights > 400e6
    assert peak - before < weights / 2
