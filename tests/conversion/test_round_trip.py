"""A model that transformers wrote becomes a checkpoint and comes back: the same tensors, bit for bit, and config."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from filecmp import cmpfiles
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import MistralConfig, MistralForCausalLM

from custom_modules.config.schema import Config
from custom_modules.conversion import from_hf, to_hf, verify
from custom_modules.conversion.model_card import CARD
from custom_modules.made import NOTE
from custom_modules.platform.launch import free_port
from tests.support import warm
from tests.support.commands import environment
from tests.support.trained import SMALL, Trained, small_config

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
PARALLEL = [
    "model.num_layers=4",
    "trainer.devices=4",
    "model.tensor_model_parallel_size=2",
    "model.pipeline_model_parallel_size=2",
]
RESAVE = """
import json, sys
from pathlib import Path
import torch
from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron
import_megatron()
from custom_modules.run_folder import checkpoint_files
from custom_modules.training.checkpoint import load_checkpoint, save_checkpoint
from custom_modules.training.engine import Engine
source, target, overrides = Path(sys.argv[1]), Path(sys.argv[2]), json.loads(sys.argv[3])
config = load_config("danube_rehearsal", overrides)
checkpoint = checkpoint_files.resolve(source)
platform = Platform.detect(config)
with platform.running(config):
    engine = Engine(config, Curriculum.from_config(config), platform)
    progress = load_checkpoint(engine, checkpoint)
    save_checkpoint(engine, target, progress, checkpoint.tokenizer, checkpoint.tokenizer_sha256, set())
"""
"""One rank: begins a run with converted weights, and saves it as training does."""


def published(folder: Path, exported: Path, config: Config, dtype: str, shards: str = "1GB") -> Path:
    """A folder that transformers wrote, with weights of which none is like another."""
    torch.manual_seed(0)
    model = config.model
    shape = {**MistralConfig.from_pretrained(exported).to_dict(), "num_hidden_layers": model.num_layers}
    mistral: Any = MistralForCausalLM(MistralConfig.from_dict({**shape, "sliding_window": model.sliding_window}))
    for parameter in mistral.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    mistral.to(DTYPES[dtype]).save_pretrained(folder, max_shard_size=shards)
    shutil.copyfile(exported / "tokenizer.model", folder / "tokenizer.model")
    return folder


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return {name: tensor for path in folder.glob("*.safetensors") for name, tensor in load_file(path).items()}


def meaning(folder: Path) -> dict[str, Any]:
    """What transformers reads from config.json, but for the bos: `config_json` says why it is the eos."""
    fields = MistralConfig.from_pretrained(folder).to_dict()
    return {name: value for name, value in fields.items() if name not in ("bos_token_id", "_name_or_path")}


def assert_same_model(one: Path, other: Path) -> None:
    first, second = tensors(one), tensors(other)
    assert first.keys() == second.keys()
    for name, tensor in first.items():
        assert tensor.dtype == second[name].dtype
        assert torch.equal(tensor, second[name]), name
    assert meaning(one) == meaning(other)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "window", "shards"),
    [("fp32", 24, 1), ("fp32", "null", 3), ("bf16", 24, 3), ("bf16", "null", 1), ("fp16", 24, 1)],
)
def test_round_trip(exported: Path, tmp_path: Path, dtype: str, window: int | str, shards: int) -> None:
    config = small_config(f"model.sliding_window={window}")
    source = published(tmp_path / "hf", exported, config, dtype, "100KB" if shards > 1 else "1GB")
    assert len(list(source.glob("*.safetensors"))) >= shards
    assert (source / "model.safetensors.index.json").is_file() == (shards > 1)
    from_hf(source, tmp_path / "run", config)
    to_hf(tmp_path / "run", tmp_path / "again", shard_bytes=100_000 if shards > 1 else 10**9)
    assert_same_model(source, tmp_path / "again")
    assert verify(tmp_path / "run", tmp_path / "again") < 1e-5


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_round_trip_of_an_export(trained: Trained, dtype: str, tmp_path: Path) -> None:
    """File by file, tokenizer and all, but for the card, which names the run, and the note, which has its size."""
    to_hf(trained.checkpoint, tmp_path / "first", dtype=dtype)
    from_hf(tmp_path / "first", tmp_path / "run", trained.config)
    to_hf(tmp_path / "run", tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "second").iterdir())
    assert {"model.safetensors", CARD} < set(names)
    names = [name for name in names if name not in (CARD, NOTE)]
    same, different, unreadable = cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False)
    assert (same, different, unreadable) == (names, [], [])


@pytest.mark.slow
@pytest.mark.parametrize(("dtype", "precision"), [("fp32", "32-true"), ("bf16", "bf16-mixed")])
def test_through_tensor_and_pipeline_parallelism(exported: Path, tmp_path: Path, dtype: str, precision: str) -> None:
    """Two layers a stage, half of every matrix a rank, and more padded rows than the converted checkpoint has."""
    single = small_config("model.num_layers=4")
    source = published(tmp_path / "hf", exported, single, dtype)
    from_hf(source, tmp_path / "run", single)
    overrides = [*SMALL, *PARALLEL, f"trainer.precision={precision}"]
    port = str(free_port())
    place = {**environment(), "WORLD_SIZE": "4", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, "-c", RESAVE, str(tmp_path / "run"), str(tmp_path / "parallel"), json.dumps(overrides)]
    ranks = [
        warm.Program(
            command, env={**place, "RANK": str(rank), "LOCAL_RANK": str(rank)}, stderr=subprocess.PIPE, text=True
        )
        for rank in range(4)
    ]
    for rank in ranks:
        _, stderr = rank.communicate(timeout=180)
        assert rank.returncode == 0, stderr
    saved = json.loads(next((tmp_path / "parallel").glob("checkpoints/*/metadata.json")).read_text())
    assert saved["layout"] == {"tensor": 2, "pipeline": 2, "context": 1, "data": 1}
    to_hf(tmp_path / "parallel", tmp_path / "again")
    assert_same_model(source, tmp_path / "again")
