"""`to-hf` of a DPO run: merged in fp32, rounded once; and the second run begins with what is not rounded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from tests.support.commands import run_danube
from tests.support.preferences import dpo_arguments
from tests.support.runs import checkpoints, read_metrics


@pytest.fixture(scope="module")
def first(export: Path, pairs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    runs = tmp_path_factory.mktemp("first")
    ended = run_danube(*dpo_arguments(export, pairs, runs, "first", "model.optim.lr=1e-2"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    return runs / "first"


def adapted(export: Path, checkpoint: Path) -> torch.nn.Module:
    base = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    return PeftModel.from_pretrained(base, str(checkpoint)).eval()


@torch.no_grad()
def logits(model: torch.nn.Module) -> torch.Tensor:
    ids = torch.randint(3, 300, (4, 100), generator=torch.Generator().manual_seed(0))
    return model(input_ids=ids).logits.float()


def test_fp32_is_adapter_and_base(export: Path, first: Path, tmp_path: Path) -> None:
    ended = run_danube("convert", "to-hf", str(first), str(tmp_path / "merged"))
    assert ended.returncode == 0, ended.stderr
    expected = logits(adapted(export, checkpoints(first)[-1]))
    found = logits(AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval())
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()
    base = logits(AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32).eval())
    assert (found - base).abs().max() > 1e-2
    names = {path.name for path in (tmp_path / "merged").iterdir()}
    assert {"tokenizer.json", "chat_template.jinja", "config.json", "model.safetensors"} <= names


def test_bf16_says_how_far_it_is_from_the_run(export: Path, first: Path, tmp_path: Path) -> None:
    """By the mean over held-out conversations, computed here with transformers' own attention."""
    ended = run_danube("convert", "to-hf", str(first), str(tmp_path / "half"), "--dtype", "bf16")
    said = re.search(r"KL of the bf16 export to adapter \+ base: (\S+) nats", ended.stderr)
    assert said is not None, ended.stderr
    assert json.loads((tmp_path / "half" / "config.json").read_text())["dtype"] == "bfloat16"
    checkpoint = checkpoints(first)[-1]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype=torch.bfloat16).eval()
    total, tokens, reference = 0.0, 0, adapted(export, checkpoint)
    for ids in json.loads((checkpoint / "probes.json").read_text()):
        with torch.no_grad():
            theirs, ours = (each(input_ids=torch.tensor([ids])).logits[0].float() for each in (reference, model))
        total += float(
            torch.nn.functional.kl_div(ours.log_softmax(-1), theirs.log_softmax(-1), log_target=True, reduction="sum")
        )
        tokens += len(ids)
    assert float(said[1]) == pytest.approx(total / tokens, rel=0.1)
    assert 0 < float(said[1]) <= 1e-3


def test_a_model_that_rounding_changes_is_refused(first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from custom_modules.dpo import export as exporting
    from custom_modules.errors import UserError
    from custom_modules.run_folder.checkpoint_files import resolve

    monkeypatch.setattr(exporting, "LARGEST_KL", 1e-9)
    with pytest.raises(UserError, match="above 1e-09; give --dtype fp32"):
        exporting.merge_to_hf(resolve(first), tmp_path / "refused", "bf16")
    assert not (tmp_path / "refused").exists()


def test_the_second_run_begins_with_the_first_ones_unrounded_merge(
    export: Path, pairs: Path, first: Path, tmp_path: Path
) -> None:
    """Its held-out log-probabilities at the start are the first's at its end; and its export has both adapters."""
    ended = run_danube(*dpo_arguments(first, pairs, tmp_path, "second"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    before, after = read_metrics(tmp_path / "second", "validation")[0], read_metrics(first, "validation")[-1]
    for name in ("logp_chosen", "logp_rejected"):
        assert before["preferences"][name] == pytest.approx(after["preferences"][name], rel=1e-5)
    assert before["preferences"]["margin"] == 0
    converted = run_danube("convert", "to-hf", str(tmp_path / "second"), str(tmp_path / "chat"))
    assert converted.returncode == 0, converted.stderr
    merged, second = load_file(tmp_path / "chat" / "model.safetensors"), checkpoints(tmp_path / "second")[-1]
    base, name = load_file(export / "model.safetensors"), "model.layers.0.self_attn.q_proj"
    expected = base[f"{name}.weight"].double()
    for folder in (checkpoints(first)[-1], second):
        adapter = load_file(folder / "adapter_model.safetensors")
        a, b = (adapter[f"base_model.model.{name}.lora_{side}.weight"].double() for side in "AB")
        expected += 16 / 4 * b @ a
    torch.testing.assert_close(merged[f"{name}.weight"].double(), expected, rtol=0, atol=1e-6)


def test_an_export_that_is_gone_is_named(export: Path, pairs: Path, tmp_path: Path) -> None:
    import shutil

    moved = Path(shutil.copytree(export, tmp_path / "copy"))
    assert run_danube(*dpo_arguments(moved, pairs, tmp_path, "run"), timeout=600).returncode == 0
    moved.rename(tmp_path / "elsewhere")
    ended = run_danube("convert", "to-hf", str(tmp_path / "run"), str(tmp_path / "out"))
    assert ended.returncode == 2
    assert f"{moved}, which is gone" in ended.stderr
