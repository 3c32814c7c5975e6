"""`verify` passes what was exported and catches what was not."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from custom_modules.conversion import to_hf, verify
from custom_modules.errors import UserError
from tests.support.trained import WINDOW, Trained


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [None, "bf16"])
def test_an_export_passes(
    trained: Trained, tmp_path: Path, dtype: str | None, capfd: pytest.CaptureFixture[str]
) -> None:
    to_hf(trained.run_dir, tmp_path / "hf", dtype=dtype)
    capfd.readouterr()
    difference = verify(trained.run_dir, tmp_path / "hf", "Some text,\n\n  over and over. </s>")
    assert difference < 1e-5
    out, err = capfd.readouterr()
    assert not out
    assert [line.split(":")[0] for line in err.splitlines()] == [
        f"largest difference of logits, {WINDOW + 64} tokens, random",
        f"largest difference of logits, {WINDOW + 64} tokens, text",
        str(trained.checkpoint),
    ]


@pytest.mark.parametrize("change", [1, -1])
def test_a_window_off_by_one_is_caught(trained: Trained, folder: Path, change: int) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "sliding_window": config["sliding_window"] + change}))
    with pytest.raises(UserError, match="logits differ from the trained model's by"):
        verify(trained.run_dir, folder)


def test_swapped_weights_are_caught(trained: Trained, folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    gate, up = (f"model.layers.1.mlp.{name}_proj.weight" for name in ("gate", "up"))
    weights[gate], weights[up] = weights[up], weights[gate]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"more than 0\.0001; it is another model"):
        verify(trained.run_dir, folder)


def test_another_encoding_is_caught(trained: Trained, folder: Path) -> None:
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "added_tokens": []}))
    config = folder / "tokenizer_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "split_special_tokens": True}))
    with pytest.raises(UserError, match="AutoTokenizer does not encode the control token <unk> as 0"):
        verify(trained.run_dir, folder, "a\nb</s>")
    content["normalizer"]["normalizers"].append({"type": "Lowercase"})
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"AutoTokenizer encodes 'B</s>' otherwise than training did"):
        verify(trained.run_dir, folder, "a\nB</s>")


def test_empty_text(trained: Trained, folder: Path) -> None:
    with pytest.raises(UserError, match="--verify-text: the file is empty"):
        verify(trained.run_dir, folder, "")


@pytest.mark.slow
def test_a_run_under_tensor_and_pipeline_parallelism(
    tiny: Callable[..., list[str]], danube: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    parallel = ["tensor_model_parallel_size=2", "pipeline_model_parallel_size=2", "optim.name=distributed_fused_adam"]
    arguments = [*(f"model.{override}" for override in parallel), "trainer.devices=4", "trainer.precision=bf16-mixed"]
    trained = danube(*tiny("parallel", *arguments))
    assert trained.returncode == 0, trained.stderr
    converted = danube("convert", "to-hf", str(tmp_path / "parallel"), str(tmp_path / "hf"), "--verify")
    assert converted.returncode == 0, converted.stderr
    assert "validation loss, 1,022 tokens of stage2: " in converted.stderr
    assert converted.stdout == f"{tmp_path / 'hf'}\n"
    assert json.loads((tmp_path / "hf" / "config.json").read_text())["dtype"] == "bfloat16"
