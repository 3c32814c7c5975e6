"""Every step of `danube prepare` alone, and all of them: documents a second and memory, with warm workers."""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import re
import subprocess
import sys
import time
from pathlib import Path

import orjson

DOCUMENTS = 4_000
WARM_DOCUMENTS = 200
EXAMPLES = 500
HEURISTICS = ("gopher_repetition", "gopher_quality", "c4_quality", "fineweb_quality")
ENCODER = {"num_layers": 2, "hidden_size": 128, "ffn_hidden_size": 512, "num_attention_heads": 2, "max_length": 128}


def on(*names: str) -> list[str]:
    return [f"data.steps.{name}={{}}" for name in names]


def steps(work: Path) -> dict[str, list[str]]:
    """Overrides by what the table calls them."""
    bert = "BERT of 2 x 128, 128 tokens"
    decontaminate = [f"data.steps.decontaminate.files=[{work / 'benchmark.jsonl'}]"]
    return {
        **{name: on(name) for name in HEURISTICS},
        "gopher_quality, words: regex": ["data.steps.gopher_quality.words=regex"],
        "c4_paragraphs": on("c4_paragraphs"),
        "facts": on("facts"),
        "decontaminate": decontaminate,
        "gbm_quality": [f"data.steps.gbm_quality.model={work / 'gbm'}"],
        f"encoder_quality, {bert}": [f"data.steps.encoder_quality.model={work / 'encoder'}"],
        "exact": on("exact"),
        "minhash": on("minhash"),
        f"semdedup, {bert}": [f"data.steps.semdedup.encoder={work / 'encoder'}"],
        f"prototypes, {bert}": [f"data.steps.prototypes.encoder={work / 'encoder'}"],
        "heuristics, decontaminate, exact, minhash": [*on(*HEURISTICS, "exact", "minhash"), *decontaminate],
    }


def bench_prepare_steps(text: Path, tokenizer: Path, work: Path, workers: int) -> None:
    """Print the table.

    Args:
        text: a corpus of JSON lines, which begins with English.
        tokenizer: a SentencePiece model.
    """
    _write_helpers(text, tokenizer, work)
    print(f"\nSteps, {DOCUMENTS:,} documents, {workers} workers")
    print(f"{'':>46}  {'documents/s':>11}  {'MiB':>6}")
    for number, name in enumerate(steps(work)):
        command = [sys.executable, "-m", "benchmarks.prepare_steps", str(text), str(work), str(number), str(workers)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        rate, memory = map(float, done.stdout.split())
        print(f"{name:>46}  {rate:11,.0f}  {memory:6,.0f}", flush=True)


def _write_helpers(text: Path, tokenizer: Path, work: Path) -> None:
    """A benchmark whose items are in the corpus, and two small models: good is English, raw is the corpus's end."""
    from data_prep.quality.train import train_quality

    lines = text.read_bytes().splitlines(keepends=True)
    items = [orjson.loads(line)["text"][:400] for line in lines[:5_000:50]]
    (work / "benchmark.jsonl").write_bytes(b"".join(orjson.dumps({"question": item}) + b"\n" for item in items))
    (work / "good.jsonl").write_bytes(b"".join(lines[:EXAMPLES]))
    (work / "raw.jsonl").write_bytes(b"".join(lines[-EXAMPLES:]))
    options = {"gbm": {}, "encoder": {**ENCODER, "tokenizer": str(tokenizer), "epochs": 1}}
    with contextlib.redirect_stderr(io.StringIO()):
        for kind, given in options.items():
            train_quality(kind, work / kind, [work / "good.jsonl"], [work / "raw.jsonl"], options=given)  # type: ignore[arg-type]


def measure(text: Path, work: Path, number: int, workers: int) -> None:
    """Prints documents/s of one row of the table, and the MiB of its largest worker."""
    from custom_modules.config.load import load_config
    from data_prep.clean.build import build_steps
    from data_prep.clean.filter_corpus import filter_corpus
    from data_prep.input.input_files import find_input_files
    from data_prep.input.units import split_units
    from data_prep.steps.filter_shard import FilterOptions
    from data_prep.work.workers import Workers

    config = load_config("danube_rehearsal", list(steps(work).values())[number])
    built = build_steps(config.data.steps.chosen)
    options = FilterOptions("text", "url", "raise", built.alone)
    lines = text.read_bytes().splitlines(keepends=True)[: WARM_DOCUMENTS + DOCUMENTS]
    with Workers(workers) as pool:
        for part, documents in (("warm", lines[:WARM_DOCUMENTS]), ("measured", lines[WARM_DOCUMENTS:])):
            folder = work / f"step{number}" / part
            folder.mkdir(parents=True)
            (folder / "a.jsonl").write_bytes(b"".join(documents))
            listing = find_input_files({"text": [folder / "a.jsonl"]}, folder / "none")
            units = split_units(listing.files, config.data.shard_bytes)
            begun = time.perf_counter()
            with contextlib.redirect_stderr(io.StringIO()):
                filter_corpus(units, options, built.across, folder / "work", pool)
            seconds = time.perf_counter() - begun
        print(len(documents) / seconds, max(peak_mib(child.pid) for child in multiprocessing.active_children()))


def peak_mib(pid: int | None) -> float:
    """Return the peak of a process that lives. `getrusage` would count what its parent had when it was started."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmHWM:\s*(\d+) kB", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    measure(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
