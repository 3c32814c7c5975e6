"""What a run has learnt, by a plain formula over its adapter and the pairs' own files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.support.commands import run_danube
from tests.support.preferences import dpo_arguments, make_pairs, prepare_pairs
from tests.support.runs import checkpoints, read_metrics


@torch.no_grad()
def log_probability(model: Any, tokenizer: Any, prompt: Sequence[Any], answer: Sequence[Any]) -> float:
    """Sum the log-probabilities of the last answer's tokens, with its end of turn."""
    before = tokenizer.apply_chat_template(list(prompt), add_generation_prompt=True)["input_ids"]
    ids = torch.tensor([tokenizer.apply_chat_template([*prompt, *answer])["input_ids"]])
    each = model(input_ids=ids).logits[0, :-1].log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0]
    return float(each[len(before) - 1 :].sum())


def judge(export: Path, run_dir: Path, data: Path) -> dict[str, float]:
    """Return the means over a ``data.dir``'s held-out pairs."""
    tokenizer = AutoTokenizer.from_pretrained(export)
    base = AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    model = PeftModel.from_pretrained(base, str(checkpoints(run_dir)[-1])).eval()
    rows = pyarrow.parquet.read_table(data / "validation" / "pairs.parquet").to_pylist()
    found: dict[str, list[float]] = {"chosen": [], "rejected": [], "margin": []}
    for row in rows:
        own = {side: log_probability(model, tokenizer, row["prompt"], row[side]) for side in ("chosen", "rejected")}
        with model.disable_adapter():
            before = {side: log_probability(model, tokenizer, row["prompt"], row[side]) for side in own}
        for side, value in own.items():
            found[side].append(value)
        found["margin"].append(0.2 * sum(sign * (own[s] - before[s]) for s, sign in (("chosen", 1), ("rejected", -1))))
    margins = torch.tensor(found["margin"])
    loss = -torch.nn.functional.logsigmoid(margins).mean()
    means = {f"logp_{side}": sum(found[side]) / len(rows) for side in ("chosen", "rejected")}
    return {
        **means,
        "margin": float(margins.mean()),
        "accuracy": float((margins > 0).float().mean()),
        "loss": float(loss),
    }


def test_held_out_figures_are_the_formulas(export: Path, pairs: Path, tmp_path: Path) -> None:
    ended = run_danube(*dpo_arguments(export, pairs, tmp_path, "run"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    last = read_metrics(tmp_path / "run", "validation")[-1]
    found = judge(export, tmp_path / "run", pairs)
    assert found.pop("loss") == pytest.approx(last["loss"], rel=1e-4)
    assert found == pytest.approx({name: last["preferences"][name] for name in found}, rel=1e-4)
    assert found["accuracy"] > 0.9


def test_exchanged_it_learns_the_opposite(export: Path, pairs: Path, tmp_path: Path) -> None:
    exchanged = prepare_pairs(tmp_path / "exchanged", export, make_pairs(50, 1, exchanged=True))
    ended = run_danube(*dpo_arguments(export, exchanged, tmp_path, "run"), timeout=600)
    assert ended.returncode == 0, ended.stderr
    assert judge(export, tmp_path / "run", pairs)["accuracy"] < 0.1
