"""Conversion holds some tensors at a time, never the model."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.conversion.dist_writer import write_dist
from custom_modules.conversion.layout import blocks
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.metadata import write_metadata
from tests.support.commands import environment

OVERRIDES = ["model.num_layers=12", "model.hidden_size=1280", "model.ffn_hidden_size=3456", "model.vocab_size=16000"]
"""Half of Danube's width and layers: 460 MB in bf16."""

MEASURE = """
import re, sys
from pathlib import Path
from transformers import MistralConfig
from custom_modules.config.load import load_config
from custom_modules.conversion import from_hf, remap_tokenizer, to_gguf, to_hf
def peak(): return int(re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
source, output, more = Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]
before = peak()
if sys.argv[1] == "to-hf":
    to_hf(source, output)
elif sys.argv[1] == "to-gguf":
    to_gguf(source, output)
elif sys.argv[1] == "remap-tokenizer":
    remap_tokenizer(source, output, Path(more[0]))
else:
    from_hf(source, output, load_config("danube_1_8b", more))
print(peak() - before)
"""
"""The process's own peak: ``ru_maxrss`` would begin with that of the process which started it."""


def grown(command: str, source: Path, output: Path, *more: str) -> int:
    """Bytes by which a conversion raises the most memory that was resident."""
    words = [sys.executable, "-c", MEASURE, command, str(source), str(output), *more]
    measured = subprocess.run(words, env=environment(), capture_output=True, text=True, check=True)
    return int(measured.stdout)


def make_checkpoint(run_dir: Path, config: Config, tokenizer_model: Path) -> Path:
    """One of ones."""
    checkpoint = run_dir / "checkpoints" / checkpoint_files.folder_name(0)
    (checkpoint / "dist").mkdir(parents=True)
    (checkpoint / "tokenizer").mkdir()
    shutil.copyfile(tokenizer_model, checkpoint / "tokenizer" / "tokenizer.model")
    tensors = (torch.ones(block.shape, dtype=torch.bfloat16) for block in blocks(config.model))
    write_dist(checkpoint / "dist", config.model, torch.bfloat16, tensors)
    write_metadata(checkpoint, config, "", {})
    return checkpoint


@pytest.mark.slow
def test_peak_of_to_gguf(tokenizer_model: Path, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="the gguf package is not installed")
    config = load_config("loki_1_4b", [*OVERRIDES, "model.tokenizer.library=sentencepiece"])
    make_checkpoint(tmp_path / "run", config, tokenizer_model)
    to_gguf = grown("to-gguf", tmp_path / "run", tmp_path / "a.gguf")
    weights = (tmp_path / "a.gguf").stat().st_size
    assert weights > 400e6
    assert to_gguf < weights * 0.6


@pytest.mark.slow
def test_peak(tokenizer_model: Path, mistral: Path, tmp_path: Path) -> None:
    config = load_config("danube_1_8b", OVERRIDES)
    checkpoint = make_checkpoint(tmp_path / "run", config, tokenizer_model)
    to_hf = grown("to-hf", tmp_path / "run", tmp_path / "hf")
    from_hf = grown("from-hf", tmp_path / "hf", tmp_path / "again", *OVERRIDES)
    remapped = grown("remap-tokenizer", checkpoint, tmp_path / "remapped", str(mistral))
    weights = (tmp_path / "hf" / "model.safetensors").stat().st_size
    assert weights > 400e6
    assert to_hf < weights * 0.6
    assert from_hf < weights * 0.6
    assert remapped < weights * 1.3, (
        "tables that are drawn in fp32 take as much as this model, which is narrow for them"
    )
