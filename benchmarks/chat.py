"""A step of fine-tuning against trl's, steps of DPO, and conversations prepared. Run by ``python -m benchmarks``.

By itself, ``python -m benchmarks.chat [sft] [dpo] [prepare]`` prints those that are named, or all.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson

from benchmarks.memory import peak_of
from custom_modules.text import decimal_bytes
from data_prep.rehearsal.questions import about_functions, sums

PAIRS = 2
CONVERSATIONS = 100_000
WORKERS = 2
DPO_STEPS, LOGGED = 60, 20
"""Steps of a run, and steps between lines of its log; those before the first line do not count."""
DANUBE = (sys.executable, "-m", "custom_modules.cli")


def bench_chat(parts: Sequence[str] = ()) -> None:
    """Print the figures of some parts, or of all."""
    for name, bench in {"sft": bench_sft, "dpo": bench_dpo, "prepare": bench_prepare}.items():
        if not parts or name in parts:
            bench()


def bench_sft() -> None:
    """Print CPU seconds a step of ours and of trl's, run in turn, and their ratio."""
    if importlib.util.find_spec("trl") is None:
        print("\nFine-tuning against trl's SFTTrainer, and DPO: not measured, the extra chat is not installed")
        return
    seconds: dict[str, list[float]] = {"ours": [], "trl": []}
    length = 0.0
    for _ in range(PAIRS):
        for contender, found in seconds.items():
            printed = json.loads(_run(sys.executable, "-m", "benchmarks.tuning", contender).splitlines()[-1])
            found.append(statistics.median(printed["seconds"]))
            length = printed["mean_length"]
    ratios = [one / other for one, other in zip(seconds["ours"], seconds["trl"], strict=True)]
    each = " ".join(f"{ratio:.2f}" for ratio in ratios)
    print(f"\nA step of fine-tuning, CPU seconds, 8 samples of {length:,.0f} tokens on average, one thread, fp32")
    print(
        f"  ours {statistics.median(seconds['ours']):.2f}  trl's SFTTrainer {statistics.median(seconds['trl']):.2f}  "
        f"ratio {statistics.median(ratios):.2f} ({each}){_load()}",
        flush=True,
    )


def bench_dpo() -> None:
    """Print the steps a second of a run of `danube dpo` of the rehearsal's model, one process with one thread."""
    if importlib.util.find_spec("trl") is None:
        return
    from custom_modules.config.dpo import DpoConfig
    from custom_modules.config.load import load_config

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        config = load_config("danube_dpo_rehearsal", kind=DpoConfig)
        _write_export(folder / "export", config)
        rows = (
            {"prompt": _user(asked.text), "chosen": _assistant(asked.best), "rejected": _assistant(asked.worst)}
            for asked in sums(2 * config.model.global_batch_size * DPO_STEPS, 1)
        )
        _write_lines(folder / "pairs.jsonl", rows)
        every = config.model.global_batch_size * LOGGED
        words = [
            *["--config-name=danube_dpo_rehearsal", f"model.restore_from_path={folder / 'export'}"],
            *["data.sources.orca_dpo_pairs=null", "data.sources.distilabel_math_preference_dpo=null"],
            *["data.sources.ultrafeedback_binarized=null", f"data.sources.made.path={folder / 'pairs.jsonl'}"],
            *[f"data.sources.made.max_samples={config.model.global_batch_size * DPO_STEPS}"],
            *[f"data.dir={folder / 'data'}", "data.workers=1", f"exp_manager.exp_dir={folder}", "exp_manager.name=run"],
            *["trainer.devices=1", "trainer.cpu_threads=1", f"trainer.log_every_n_samples={every}"],
            *["trainer.val_every_n_samples=1_000_000", "exp_manager.create_tensorboard_logger=false"],
            "exp_manager.checkpoint_callback_params.every_n_train_samples=1_000_000",
        ]
        _run(*DANUBE, "prepare", *words)
        _run(*DANUBE, "dpo", *words)
        lines = [json.loads(line) for line in (folder / "run" / "metrics.jsonl").read_text().splitlines()]
    train = [line for line in lines if line["kind"] == "train"]
    first, last = train[0], train[-1]
    rate = (last["step"] - first["step"]) / (last["elapsed_seconds"] - first["elapsed_seconds"])
    tokens = (last["tokens"] - first["tokens"]) / (last["step"] - first["step"])
    print(
        f"\nDPO, one process, one thread, fp32: {rate:.2f} steps/s of 2 pairs, {tokens:,.0f} tokens{_load()}",
        flush=True,
    )


def bench_prepare() -> None:
    """Print conversations a second of `danube prepare`, and the memory of all its processes at the peak."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        functions = about_functions()
        _write_tokenizer(folder / "tokenizer.model")
        rows = (
            {
                "messages": [
                    *_user(asked.text),
                    *_assistant(asked.best),
                    *_user(functions[number % len(functions)].text),
                    *_assistant(functions[number % len(functions)].best),
                ]
            }
            for number, asked in enumerate(sums(CONVERSATIONS, 1))
        )
        _write_lines(folder / "chats.jsonl", rows)
        others = [f"data.sources.{name}=null" for name in ("openorca", "metamathqa", "ultrachat200k", "oasst2")]
        command = [
            *[*DANUBE, "prepare", "--config-name=danube_sft_rehearsal", f"data.dir={folder / 'data'}", *others],
            *[f"data.sources.made.path={folder / 'chats.jsonl'}", f"data.workers={WORKERS}"],
            f"model.tokenizer.model={folder / 'tokenizer.model'}",
        ]
        size = (folder / "chats.jsonl").stat().st_size
        peak, seconds, _ = peak_of(command)
        splits = json.loads((folder / "data" / "manifest.json").read_text())["splits"]
        samples, tokens = (sum(split[key] for split in splits.values()) for key in ("samples", "tokens"))
    print(f"\nPreparing {CONVERSATIONS:,} conversations of two turns, {decimal_bytes(size)}, {WORKERS} workers")
    print(
        f"  {CONVERSATIONS / seconds:,.0f} conversations/s in {seconds:.0f} s, {samples:,} samples of "
        f"{tokens / samples:,.0f} tokens; {peak / 1e6:,.0f} MB at the peak, over all processes{_load()}",
        flush=True,
    )


def _write_export(folder: Path, config: object) -> None:
    """Write a model of a config's shape with weights as they are drawn, and a tokenizer with the prompt format."""
    import torch
    from transformers import MistralConfig, MistralForCausalLM

    from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
    from custom_modules.config.dpo import DpoConfig

    assert isinstance(config, DpoConfig)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as name:
        _write_tokenizer(Path(name) / "tokenizer.model")
        tokenizer = ChatTokenizer.from_file("sentencepiece", Path(name) / "tokenizer.model")
        tokenizer.save(folder, config.model.encoder_seq_length)
    model = config.model
    torch.manual_seed(0)
    shape = MistralConfig(
        vocab_size=model.vocab_size,
        hidden_size=model.hidden_size,
        intermediate_size=model.ffn_hidden_size,
        num_hidden_layers=model.num_layers,
        num_attention_heads=model.num_attention_heads,
        num_key_value_heads=model.num_query_groups,
        head_dim=model.kv_channels or model.hidden_size // model.num_attention_heads,
        sliding_window=model.sliding_window,
        max_position_embeddings=model.encoder_seq_length,
        rms_norm_eps=model.layernorm_epsilon,
        tie_word_embeddings=False,
        eos_token_id=tokenizer.eos_id,
        bos_token_id=tokenizer.eos_id,
        pad_token_id=tokenizer.pad_id,
    )
    MistralForCausalLM(shape).save_pretrained(folder)


def _write_tokenizer(path: Path) -> None:
    from data_prep.tokenize.train_tokenizer import train_tokenizer

    path.write_bytes(train_tokenizer([f"{asked.text} {asked.best}" for asked in about_functions()], 2048))


def _user(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def _assistant(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def _write_lines(path: Path, rows: Iterator[object]) -> None:
    with path.open("wb") as stream:
        stream.writelines(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows)


def _run(*command: str) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout


def _load() -> str:
    """What else the machine was doing: figures by the clock mean little beside much."""
    return f"; load average {os.getloadavg()[0]:.1f}"


if __name__ == "__main__":
    bench_chat(sys.argv[1:])
