"""Part of `make bench-data`: the seconds that one document of a hard kind takes each step, and each way to encode."""

from __future__ import annotations

import contextlib
import gc
import io
import time
from pathlib import Path
from typing import Any

import orjson

from benchmarks.fasttext_model import train_fasttext
from benchmarks.hard_texts import hard_texts
from benchmarks.one_text import Call, step_calls, tokenizer_calls
from custom_modules.tokenizer import load_tokenizer

SIZE = 200_000
"""Characters."""


def steps(work: Path) -> dict[str, dict[str, Any]]:
    """Options of every step; writes what they need beside a benchmark and models."""
    (work / "words.txt").write_text("spam\neggs and spam\n")
    train_fasttext(work).save_model(str(work / "languages.bin"))
    plain = ("gopher_repetition", "gopher_quality", "c4_quality", "c4_paragraphs", "fineweb_quality", "facts")
    return {
        "url": {"use_integrated_lists": False, "banned_words": ["spam"], "banned_subwords": ["eggs"]},
        "language": {"model": str(work / "languages.bin")},
        **{name: {} for name in (*plain, "exact", "minhash")},
        "c4_badwords": {"words": str(work / "words.txt")},
        "decontaminate": {"files": [str(work / "benchmark.jsonl")]},
        "gbm_quality": {"model": str(work / "gbm")},
        "encoder_quality": {"model": str(work / "encoder")},
        **{name: {"encoder": str(work / "encoder")} for name in ("semdedup", "prototypes")},
    }


def bench_stalls(tokenizer: Path, work: Path) -> None:
    """Print the table.

    Args:
        tokenizer: a SentencePiece model.
        work: where `benchmarks.prepare_steps` has written a benchmark and models.
    """
    calls = {**step_calls(steps(work), work / "signatures"), **tokenizer_calls("sentencepiece", tokenizer)}
    calls |= tokenizer_calls("huggingface", _as_json(tokenizer, work / "huggingface"))
    # What is loaded by now is not looked through again in the middle of a measurement.
    gc.freeze()
    whole, half = hard_texts(SIZE), hard_texts(SIZE // 2)
    print(f"\nOne document of {SIZE:,} characters, of {len(whole)} kinds: CPU seconds")
    print(f"{'':>28}  {'median':>7}  {'slowest':>7}  {'half of it':>10}  kind")
    for name, call in calls.items():
        call("The river is long. ")
        seconds = {kind: _seconds(call, text) for kind, text in whole.items()}
        slowest = max(seconds, key=lambda kind: seconds[kind])
        median = sorted(seconds.values())[len(seconds) // 2]
        row = f"{median:7.3f}  {seconds[slowest]:7.3f}  {_seconds(call, half[slowest]):10.3f}  {slowest}"
        print(f"{name:>28}  {row}", flush=True)


def _as_json(tokenizer: Path, folder: Path) -> Path:
    """Write the same tokenizer as a ``tokenizer.json``."""
    model = load_tokenizer("sentencepiece", tokenizer)
    folder.mkdir()
    (folder / "tokenizer.json").write_bytes(orjson.dumps(model.to_json()))
    (folder / "tokenizer_config.json").write_bytes(orjson.dumps({"eos_token": model.token(model.eos_id)}))
    return folder / "tokenizer.json"


def _seconds(call: Call, text: str) -> float:
    begun = time.process_time()
    with contextlib.redirect_stderr(io.StringIO()):
        call(text)
    return time.process_time() - begun
