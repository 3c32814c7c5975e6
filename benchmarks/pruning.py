"""`danube prune-tokenizer` on growing texts: seconds, and the anonymous memory of all its processes at its peak.

The texts are made up: words go on to be new for ever, more so than in prose, so that of n about n^0.8 are different.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

import numpy as np
import orjson

from benchmarks.memory import peak_of
from custom_modules.text import decimal_bytes

WORKERS = 2
VOCAB_SIZE = 32_000
MEGABYTES = [100, 400, 1600]
REPORT_TOKENS, BYTES_A_TOKEN = 50_000_000_000, 4.3
"""What the report's tokenizer was trained on, and about how long a token of English is."""
_DOCUMENT = 500
_EXPONENT = 1.25
"""The exponent of Zipf's law: the word of rank r comes in proportion to r^-1.25."""
_LETTERS = "etaoinshrdlcumwfgypbvk"


def write_text(file: Path, size: int) -> None:
    """Write JSON lines with documents of 500 words, of ``size`` bytes together."""
    source, written = np.random.default_rng(size), 0
    known = list(map(spell, range(1 << 16)))
    with file.open("wb") as lines:
        while written < size:
            ranks = source.zipf(_EXPONENT, _DOCUMENT).tolist()
            text = " ".join([known[rank] if rank < len(known) else spell(rank) for rank in ranks])
            written += lines.write(orjson.dumps({"text": text}, option=orjson.OPT_APPEND_NEWLINE))


def spell(number: int) -> str:
    """Write a number as a word."""
    letters = []
    while number:
        number, letter = divmod(number, len(_LETTERS))
        letters.append(_LETTERS[letter])
    return "".join(letters)


def measure(source: Path, texts: Path, output: Path, size: int | None) -> int:
    """Run the command; returns how many words are different.

    Args:
        size: of the vocabulary; None: nothing is pruned, and the words are encoded once in place of six times.
    """
    from data_prep.vocabulary.prune_tokenizer import PruneOptions, prune_tokenizer

    report = prune_tokenizer(source, output, PruneOptions(size, (str(texts),), is_any=True, workers=WORKERS))
    assert report is not None
    print(report.as_text(), file=sys.stderr)
    return report.text.distinct_words


def _cpu_of_children() -> float:
    """Seconds of the processes that have ended, and of those that they started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pruning", description=__doc__)
    parser.add_argument("source", type=Path, help="cl100k_base.tiktoken")
    parser.add_argument("--on", type=Path, help="a text of yours, instead of those that are made up")
    parser.add_argument("--megabytes", nargs="+", type=int, default=MEGABYTES)
    parser.add_argument("--count-only", action="store_true", help="encode the words once, and prune nothing")
    parser.add_argument("--folder", type=Path, help="for files on the way")
    parser.add_argument("--measured", nargs=2, type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measured:
        texts, output = given.measured
        print(measure(given.source, texts, output, None if given.count_only else VOCAB_SIZE))
        return
    print(f"{'text, MB':>9}  {'distinct words':>15}  {'seconds':>8}  {'CPU, s':>7}  {'peak, MB':>9}")
    sizes, peaks = [], []
    for megabytes in [0] if given.on else given.megabytes:
        with tempfile.TemporaryDirectory(dir=given.folder) as name:
            texts = given.on or Path(name) / "text.jsonl"
            if not given.on:
                write_text(texts, megabytes * 10**6)
            files = [texts] if texts.is_file() else [path for path in texts.rglob("*") if path.is_file()]
            size = sum(path.stat().st_size for path in files) / 1e6
            command = ["-m", "benchmarks.pruning", str(given.source), "--measured", str(texts), f"{name}/out"]
            command += ["--count-only"] if given.count_only else []
            before = _cpu_of_children()
            peak, seconds, distinct = peak_of([sys.executable, *command])
            cpu = _cpu_of_children() - before
        sizes.append(size)
        peaks.append(peak)
        print(f"{size:9,.0f}  {distinct:15,}  {seconds:8,.1f}  {cpu:7,.1f}  {peak / 1e6:9,.0f}", flush=True)
    if len(sizes) > 1:
        slope = max((peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2]) / 1e6, 0)
        goal = REPORT_TOKENS * BYTES_A_TOKEN
        there = decimal_bytes(round(peaks[-1] + slope * (goal - sizes[-1] * 1e6)))
        print(f"{slope:.6f} bytes a byte of text between the last two: {there} at {decimal_bytes(round(goal))}")


if __name__ == "__main__":
    main()
