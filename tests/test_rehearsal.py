"""The rehearsals at a tenth of their tokens and less: raw text to a Hugging Face checkpoint, by the cluster's scripts.

Their commands start warm. Those that begin with Danube's model find the text of this installation collected.
"""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.stages import Curriculum
from custom_modules.tasks.suite import suite_names
from tests.support.runs import read_metrics
from tests.support.slurm_jobs import write_site
from tests.support.warm_path import warm_programs

ROOT = Path(__file__).resolve().parents[1]
SMALL = [
    *[
        f"curriculum.stages.stage{n}.tokens={tokens}"
        for n, tokens in ((1, 140_000), (2, 20_000), (3, 20_000), (4, 20_000))
    ],
    "model.optim.sched.warmup_tokens=9216",
    "trainer.val_every_n_tokens=131072",
    "trainer.limit_val_tokens=16384",
    "data.validation_fraction=0.01",
]
FEWER_ITEMS = "ITEMS=3"

TENTH_OF_DANUBE2 = [
    *[f"curriculum.stages.stage{n}.tokens={tokens}" for n, tokens in ((1, 100_000), (2, 95_000), (3, 5_000))],
    "trainer.val_every_n_tokens=131072",
    "trainer.limit_val_tokens=16384",
    "data.validation_fraction=0.05",
]
A_FIFTH_OF_EXAMPLES = "MAX_EXAMPLES2=200"

TENTH_OF_LOKI = [
    *[f"curriculum.stages.stage{n}.tokens={tokens}" for n, tokens in ((1, 10_000), (2, 90_000))],
    "model.rampup_batch_tokens=[1024,1024,10000]",
    "model.optim.sched.warmup_tokens=8192",
    "trainer.val_every_n_tokens=131072",
    "trainer.limit_val_tokens=8192",
    "data.sources.web=[builtin/networkx,builtin/huggingface_hub]",
]
FEWER_EXAMPLES_AND_TEXTS = ("MAX_EXAMPLES3=200", "GENERATED3=96")

FEWER_CHATS = (
    "SFT4=--config-name danube_sft_rehearsal "
    "data.sources.openorca.max_samples=480 data.sources.metamathqa.max_samples=270 "
    "data.sources.ultrachat200k.max_samples=270 data.sources.oasst2.max_samples=30",
    "DPO4=--config-name danube_dpo_rehearsal data.sources.ultrafeedback_binarized.max_samples=60",
    "SECOND_DPO4=--config-name danube_dpo_oasst2_rehearsal data.sources.oasst2.max_samples=40",
)


def rehearse_script(target: str, overrides: list[str], *variables: str) -> str:
    """The commands of a Makefile's target, as `make` would run them with these overrides and variables."""
    dry = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--dry-run",
            "--assume-old=install",
            target,
            f"OVERRIDES={' '.join(overrides)}",
            *variables,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return dry.stdout[dry.stdout.rindex("begun=") :]


def rehearse(folder: Path, target: str, overrides: list[str], *variables: str) -> str:
    """Run them in a folder; returns what they print."""
    venv, site = folder / f"venv_{target}", folder / "site.env"
    write_site(site, VENV=str(venv))
    with warm_programs(venv / "bin") as programs:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", rehearse_script(target, overrides, *variables)],
            cwd=folder,
            env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}", "DANUBE_SITE": str(site)},
            capture_output=True,
            text=True,
            timeout=1800,
        )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder in which Danube has been rehearsed, and what that printed."""
    folder = tmp_path_factory.mktemp("rehearsed")
    for name in ("slurm", "custom_modules", "nemo_configs"):
        (folder / name).symlink_to(ROOT / name)
    return folder, rehearse(folder, "rehearse", SMALL, FEWER_ITEMS)


@pytest.mark.slow
def test_from_text_to_hugging_face(folder: tuple[Path, str]) -> None:
    tmp_path, printed = folder
    run_dir, export = tmp_path / "runs" / "danube_rehearsal", tmp_path / "exports" / "danube_rehearsal"
    assert sum(file.stat().st_size for file in tmp_path.glob("data/danube_rehearsal/raw/builtin/*")) > 15_000_000
    losses = [line["loss"] for line in read_metrics(run_dir)]
    assert losses[0] - losses[-1] > 1
    total = Curriculum.from_config(load_config("danube_rehearsal", SMALL)).total_tokens
    assert read_metrics(run_dir)[-1]["tokens"] == read_metrics(run_dir, "validation")[-1]["tokens"] == total
    assert [line["stage"] for line in read_metrics(run_dir, "validation")][-1] == "stage4"
    largest = [float(value) for value in re.findall(r"largest difference of logits, .*: (\S+)", printed)]
    assert len(largest) == 2
    assert max(largest) <= 1e-4
    assert (run_dir / "report" / "figure1.png").read_bytes().startswith(b"\x89PNG")
    page = (run_dir / "report" / "index.html").read_text()
    assert "data:image" in page
    assert not re.search(r"(src|href)=\"https?:", page)
    for suite in suite_names():
        assert suite in printed
        assert (export / "evaluation" / suite / "table.md").read_text() in printed
    tasks = load_config("danube_rehearsal").trainer.evaluate
    assert tasks is not None
    for task in tasks.tasks:
        after, before = re.findall(rf"^{task}: right answers take ([\d.]+) bits .* ([\d.]+) before$", printed, re.M)[0]
        assert float(after) < float(before)
        assert f"<td>{task}</td>" in page
    config = json.loads((export / "config.json").read_text())
    assert (config["model_type"], config["vocab_size"], config["sliding_window"]) == ("mistral", 2048, 256)


def share_text(folder: Path, name: str) -> None:
    shutil.copytree(folder / "data" / "danube_rehearsal" / "raw", folder / "data" / f"{name}_rehearsal" / "raw")


@pytest.mark.slow
def test_danube2_goes_on_from_it(folder: tuple[Path, str]) -> None:
    tmp_path, _ = folder
    run_dir = tmp_path / "runs" / "danube_rehearsal"
    share_text(tmp_path, "danube2")
    printed = rehearse(tmp_path, "rehearse-danube2", TENTH_OF_DANUBE2, A_FIFTH_OF_EXAMPLES)
    second, export = tmp_path / "runs" / "danube2_rehearsal", tmp_path / "exports" / "danube2_rehearsal"
    assert re.search(
        r"beginning with the weights of \S+_start/checkpoints/\S+ \(model.sliding_window: 256 -> null\)", printed
    )
    anew, continued = read_metrics(run_dir), read_metrics(second)
    assert (
        continued[-1]["tokens"]
        == Curriculum.from_config(load_config("danube2_rehearsal", TENTH_OF_DANUBE2)).total_tokens
    )
    assert continued[0]["loss"] < anew[0]["loss"], "what Danube learned is of use with the other tokenizer"
    shares = re.findall(r"\| stage\d \| web \| train \|.*\| ([\d.]+%) \| ([\d.]+%) \|", card(tmp_path))
    assert shares == [("84.5%", "84.5%"), ("72.8%", "72.8%"), ("55.5%", "55.5%")]
    assert re.search(r"\| gbm_quality \| score below .* \| web \|", card(tmp_path)), "the models had their say"
    assert re.search(r"\| encoder_quality \| score below .* \| web \|", card(tmp_path))
    assert (second / "report" / "figure2.png").read_bytes().startswith(b"\x89PNG")
    token_map = json.loads(
        (tmp_path / "runs" / "danube2_rehearsal_start" / "checkpoints" / "token_map.json").read_text()
    )
    assert len(token_map["old_ids"]) == 2048
    assert json.loads((export / "config.json").read_text())["sliding_window"] is None


@pytest.mark.slow
def test_loki_is_taught_by_it(folder: tuple[Path, str]) -> None:
    """Two streams, three teachers, a growing batch, both exports."""
    share_text(folder[0], "loki")
    check_loki(folder[0], rehearse(folder[0], "rehearse-loki", TENTH_OF_LOKI, *FEWER_EXAMPLES_AND_TEXTS))


def check_loki(folder: Path, printed: str) -> None:
    """Look at what LokiLM's rehearsal has left and said."""
    assert "custom code" not in printed, "nobody is asked whether an export's code may be run"
    run_dir, export = folder / "runs" / "loki_rehearsal", folder / "exports" / "loki_rehearsal"
    curriculum = Curriculum.from_config(load_config("loki_rehearsal", TENTH_OF_LOKI))
    lines = read_metrics(run_dir)
    assert lines[-1]["tokens"] == curriculum.total_tokens
    phases = len(curriculum.stages[0].phases)
    found = re.findall(r"stage1: phase (\d) of (\d)", printed)
    assert phases > 1 and [*dict.fromkeys(found)] == [(str(number), str(phases)) for number in range(1, phases + 1)]
    removed = (folder / "data" / "loki_rehearsal" / "data_card.md").read_text()
    for step in ("decontaminate", "encoder_quality", "semdedup", "prototypes"):
        assert re.search(rf"\| {step} \| .* \| \d+ \| ", removed), f"{step} had its say"
    for teacher, suffix in (("mistral_7b", "rows"), ("llama2_13b", "rows"), ("gpt_4", "texts.bin")):
        for part in ("stage1/web", "stage1/generated", "stage2/web"):
            assert (folder / "data" / "loki_rehearsal" / f"{part}_distilled.{teacher}.{suffix}").stat().st_size
    assert "llama2_13b: stage2, web" in printed and "it says something at 100.00%" in printed, "the student's tokenizer"
    assert re.search(r"objective \d+\.\d+ \(ground_truth \d+%, mistral_7b \d+%, llama2_13b \d+%, gpt_4 \d+%\)", printed)
    largest = [float(value) for value in re.findall(r"largest difference of logits, .*: (\S+)", printed)]
    assert len(largest) == 2 and max(largest) <= 1e-4
    assert "in training (32-true)" in printed, "the losses of both were compared"
    config = json.loads((export / "config.json").read_text())
    assert (config["vocab_size"], config["auto_map"].keys()) == (2048, {"AutoConfig", "AutoModelForCausalLM"})
    assert (folder / "exports" / "loki_rehearsal.gguf").read_bytes().startswith(b"GGUF")
    assert (run_dir / "report" / "figure1.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_it_learns_to_chat(folder: tuple[Path, str]) -> None:
    """Fine-tuned, aligned twice, merged, asked, and judged in both turns of every question."""
    tmp_path, _ = folder
    printed = rehearse(tmp_path, "rehearse-chat", [], *FEWER_CHATS)
    first, *_, last = read_metrics(tmp_path / "runs" / "danube_sft_rehearsal", "validation")
    assert first["loss"] - last["loss"] > 1
    for name in ("danube_dpo", "danube_dpo_oasst2"):
        run_dir = tmp_path / "runs" / f"{name}_rehearsal"
        first, *_, last = read_metrics(run_dir, "validation")
        assert first["loss"] == pytest.approx(math.log(2), abs=1e-6) and last["loss"] < first["loss"]
        assert (run_dir / "report" / "figure1.png").read_bytes().startswith(b"\x89PNG")
    export = tmp_path / "exports" / "danube_chat_rehearsal"
    assert "<|prompt|>" in (export / "chat_template.jinja").read_text()
    assert re.search(r"held-out loss over answers: [\d.]+ nats a token before SFT, [\d.]+ after it", printed)
    assert re.search(r"\d+ of \d+ held-out prompts get an answer that ends by itself", printed)
    assert re.search(r"8 questions are answered; \d+ of 16 answers did not end by themselves", printed)
    judged = json.loads((export / "mt_bench" / "result.json").read_text())
    for turn in ("turn_1", "turn_2"):
        assert judged[turn]["average"]["rated"] == 8
    assert "Stablelm-2-Zephyr-1.6B  H2O-Danube-1.8B-Chat  danube_chat_rehearsal" in printed


def card(folder: Path) -> str:
    return (folder / "data" / "danube2_rehearsal" / "data_card.md").read_text()
