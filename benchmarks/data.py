"""`make bench-data`: text to Megatron indexed datasets, against the way Megatron-LM's tool takes; and each data step.

The text is what this machine has, each paragraph once: repeated text would flatter an encoder that remembers words.
``MEGATRON_LM=FOLDER``, a checkout of Megatron-LM, has the tool itself timed too.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import orjson

from benchmarks.machine_text import Collected, collect
from benchmarks.prepare_steps import bench_prepare_steps
from benchmarks.preprocess import IMITATED, PREPARE, TOOL, WORKERS, Timing, documents, timed, ways, written
from benchmarks.stalls import bench_stalls

PAIRS = 2
ENGLISH_BYTES, ALL_BYTES = 200_000_000, 1_000_000_000
ROOTS = [Path("/usr"), Path(sys.base_prefix), Path(sys.prefix), Path("/opt"), Path("/var/cache/apt/archives")]
_FEW = 500
_SAMPLE, _SAMPLE_CHARACTERS = 400, 1_500
"""As much as `danube prepare` proves its encoder on."""


def mistral() -> Path:
    """Return Mistral's SentencePiece model of 32,000 tokens, which the `dev` extra brings along."""
    found = find_spec("mistral_common")
    if found is None or found.origin is None:
        raise SystemExit("mistral_common is not installed; pip install 'danube-pretrain[dev]'")
    return Path(found.origin).parent / "data" / "tokenizer.model.v1"


def proof_seconds(text: Path, model: Path) -> float:
    """Time what proves that gigatoken gives SentencePiece's ids, on the beginning of a corpus."""
    from custom_modules.tokenizer import load_tokenizer
    from custom_modules.tokenizer.fast import why_not_fast

    with text.open("rb") as lines:
        sample = [orjson.loads(line)["text"][:_SAMPLE_CHARACTERS] for line in islice(lines, _SAMPLE)]
    tokenizer = load_tokenizer("sentencepiece", model)
    begun = time.perf_counter()
    reason = tokenizer.not_as_json or why_not_fast(tokenizer, sample)
    assert reason is None, reason
    return time.perf_counter() - begun


def bench_corpus(name: str, text: Path, model: Path, work: Path) -> None:
    """Time every way on a corpus and on its first documents, which is the start-up, and print a table."""
    few = work / "few.jsonl"
    with text.open("rb") as lines:
        few.write_bytes(b"".join(islice(lines, _FEW)))
    rows: dict[str, list[Timing]] = {way: [] for way in ways()}
    start_up: dict[str, list[float]] = {way: [] for way in ways()}
    for pair in range(PAIRS):
        folders = {way: work / f"{name}-{number}-{pair}" for number, way in enumerate(rows)}
        for way, folder in folders.items():
            start_up[way].append(timed(way, few, model, folder.with_suffix(".few")).seconds)
            rows[way].append(timed(way, text, model, folder))
        _check(folders)
    tokens = sum(path.stat().st_size for path in folders[PREPARE].glob("stage1/*.bin")) // 2
    size, load = text.stat().st_size / 1e6, os.getloadavg()[0]
    print(
        f"\n{name}: {size:,.0f} MB of JSON lines, {tokens:,} tokens, {WORKERS} workers, median of {PAIRS} in turn; ",
        end="",
    )
    print(f"the machine's load was {load:.1f} on {os.cpu_count()} cores at the end")
    print(f"{'':>24}  {'seconds':>8}  {'start-up':>8}  {'tokens/s':>10}  {'MiB':>6}")
    for way, timings in rows.items():
        seconds, began = statistics.median(one.seconds for one in timings), statistics.median(start_up[way])
        memory = max(one.mib for one in timings)
        print(f"{way:>24}  {seconds:8.1f}  {began:8.1f}  {tokens / seconds:10,.0f}  {memory:6,.0f}")
    print(f"of the start-up, {proof_seconds(text, model):.1f} s are the proof that the ids are SentencePiece's")
    for way in list(rows)[1:]:
        ratios = [other.seconds / ours.seconds for ours, other in zip(rows[PREPARE], rows[way], strict=True)]
        each = " ".join(f"{ratio:.1f}" for ratio in ratios)
        same = "the same bytes" if way == IMITATED else "the same documents"
        print(f"{statistics.median(ratios):.1f} times the tokens/s of {way} ({each}), {same}", flush=True)


def _check(folders: dict[str, Path]) -> None:
    assert written(folders[PREPARE]) == written(folders[IMITATED]), "the bytes differ"
    if TOOL in folders:
        assert documents(folders[PREPARE]) == documents(folders[TOOL]), "the documents differ"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("roots", nargs="*", type=Path, default=ROOTS, help="folders to take text from, in this order")
    parser.add_argument("--text", type=Path, help="a folder for the text, which is used again if it is there")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        folder = options.text or work
        english, everything, found = folder / "english.jsonl", folder / "all.jsonl", folder / "found.json"
        if not found.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            counted = collect(options.roots, english, everything, (ENGLISH_BYTES, ALL_BYTES), WORKERS)
            found.write_bytes(orjson.dumps(counted))
        print(Collected(**orjson.loads(found.read_bytes())), flush=True)
        model = mistral()
        for name, text in (("English", english), ("everything", everything)):
            bench_corpus(name, text, model, work)
        bench_prepare_steps(everything, model, work, WORKERS)
        bench_stalls(model, work)


if __name__ == "__main__":
    main()
