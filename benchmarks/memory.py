"""Steps over the whole corpus at growing sizes: the anonymous memory of all their processes at its peak, and its slope.

Digests, signatures and vectors are made up; the steps' own functions work on them, with two workers.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
from numpy.typing import NDArray

from custom_modules.data_steps.options import PrototypeOptions, SemDedupOptions
from custom_modules.text import decimal_bytes
from data_prep.across.assigned import assign_units
from data_prep.across.exact import find_copies
from data_prep.across.minhash import find_clusters
from data_prep.across.near_pairs import signature_bytes
from data_prep.across.prototypes import find_typical
from data_prep.across.semdedup import find_copies as find_alike
from data_prep.input.documents import DIGEST_BYTES
from data_prep.semantic.clusters import fit
from data_prep.semantic.embeddings import VectorCorpus, write_vectors
from data_prep.work.workers import Pool, Workers

UNIT = 20_000
"""Documents of a unit, as 64 MB of web text have."""
GOAL_DOCUMENTS, GOAL_BYTES = 300_000_000, 4_000_000_000
BUCKETS, HASHES = 4, 8
"""Of MinHash's 14 buckets so few: two are worked on at a time, however many there are."""
DIMENSION, SAMPLE, CLUSTERS = 64, 50_000, 1_000
"""The same number of clusters at every size, for the memory of a worker has a part that grows with it, up to 4,096."""
ROWS = 250_000
"""Vectors that `semdedup` compares at a time in each process: the default of its ``rows_in_memory``."""
WORKERS = 2
SECONDS_BETWEEN = 0.02
SIZES = {
    "exact": [4_000_000, 16_000_000, 64_000_000],
    "minhash": [1_000_000, 4_000_000, 16_000_000],
    "semdedup": [1_000_000, 4_000_000, 8_000_000],
    "prototypes": [1_000_000, 4_000_000, 16_000_000],
}
"""Documents by step."""


def make_units(step: str, documents: int, folder: Path) -> None:
    """Write what a step compares: a fifth of the documents are copies of earlier ones."""
    source = np.random.default_rng(documents)
    for unit, begin in enumerate(range(0, documents, UNIT)):
        size = min(UNIT, documents - begin)
        copied = source.random(size) < 0.2
        kinds = np.where(copied, source.integers(begin + 1, size=size), np.arange(begin, begin + size))
        _write_unit(step, folder / f"{unit:06d}", _mixed(kinds))


def _mixed(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """What looks random, and is the same for the same number (SplitMix64)."""
    found = numbers.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        found = (found ^ (found >> np.uint64(shift))) * np.uint64(factor)
    return found


def _write_unit(step: str, path: Path, seeds: NDArray[np.uint64]) -> None:
    if step == "exact":
        np.stack([seeds, _mixed(seeds.view(np.int64))], axis=1).tofile(path)
    elif step == "minhash":
        for bucket in range(BUCKETS):
            records = np.empty(len(seeds), [("hashes", "<u8", (HASHES,)), ("document", "<u4")])
            for number in range(HASHES):
                salt = np.uint64(bucket * HASHES + number + 1)
                records["hashes"][:, number] = _mixed((seeds ^ salt).view(np.int64)) >> np.uint64(3)
            records["document"] = np.arange(len(seeds))
            target = path / f"bucket_{bucket:03d}" / "00000.minhash.sig"
            target.parent.mkdir(parents=True)
            records[np.argsort(records["hashes"][:, 0], kind="stable")].tofile(target)
    else:
        entries = [_mixed((seeds ^ np.uint64(number + 1)).view(np.int64)) for number in range(DIMENSION)]
        vectors = np.stack(entries, axis=1).astype(np.float64) / 2**63 - 1
        write_vectors(path.with_suffix(".npy"), vectors.astype(np.float16))


def find(step: str, units: Path, work: Path, workers: Pool) -> int:
    """Let a step find its copies in what `make_units` has written; returns how many."""
    files, into = sorted(units.iterdir()), work / "drops"
    into.mkdir(parents=True)
    if step == "exact":
        return find_copies(files, [file.stat().st_size // DIGEST_BYTES for file in files], work / step, workers, into)
    if step == "minhash":
        first = (file / "bucket_000" / "00000.minhash.sig" for file in files)
        counts = [file.stat().st_size // signature_bytes(HASHES) for file in first]
        return find_clusters(files, counts, BUCKETS, HASHES, work, workers, into)
    semdedup = SemDedupOptions(encoder="none", clusters=CLUSTERS, sample=SAMPLE, rows_in_memory=ROWS)
    typical = PrototypeOptions(encoder="none", clusters=CLUSTERS, sample=SAMPLE)
    ((_, centroids),) = workers.run(fit, [(files, semdedup)])
    corpus = VectorCorpus.open(files)
    assigned, sizes = assign_units(corpus, centroids, semdedup.seed, work / "clusters", workers)
    if step == "semdedup":
        return find_alike(corpus, assigned, sizes, semdedup, work / "compared", workers, into)
    return find_typical(corpus, assigned, sizes, typical, workers, into)


def peak_of(command: list[str]) -> tuple[int, float, str]:
    """Run a command; return its processes' anonymous bytes at the peak, its seconds, and what it prints."""
    begun, peak = time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while process.poll() is None:
            peak = max(peak, sum(_anonymous(process.pid)))
            time.sleep(SECONDS_BETWEEN)
        assert process.stdout is not None
        printed = process.stdout.read()
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}")
    return peak, time.perf_counter() - begun, printed


def _anonymous(pid: int) -> Iterator[int]:
    """Yield the RssAnon of a process and of all that it started."""
    try:
        processes = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for process in processes:
        try:
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield from (int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


def bench(step: str, sizes: list[int], folder: Path) -> None:
    """Print a step's rows of the table, and what follows for the goal."""
    peaks = []
    for documents in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as name:
            units, work = Path(name) / "units", Path(name) / "work"
            units.mkdir()
            make_units(step, documents, units)
            command = [sys.executable, "-m", "benchmarks.memory", "--measured", step, name]
            peak, seconds, printed = peak_of(command)
            dropped = int(printed)
            drops = sum(path.stat().st_size for path in work.rglob("*") if path.is_file())
        peaks.append(peak)
        print(
            f"{step:>10}  {documents:11,}  {dropped:11,}  {seconds:9,.0f}  {peak / 1e6:9,.0f}  {drops / 1e6:9,.0f}",
            flush=True,
        )
    if len(sizes) < 2:
        return
    slope = max((peaks[-1] - peaks[-2]) / (sizes[-1] - sizes[-2]), 0)
    goal = peaks[-1] + slope * (GOAL_DOCUMENTS - sizes[-1])
    print(f"{step:>10}  {slope:.2f} bytes a document between the last two: {decimal_bytes(round(goal))} at 300 million")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.memory", description=__doc__)
    parser.add_argument("--steps", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--documents", nargs="+", type=int, help="instead of each step's own")
    parser.add_argument("--folder", type=Path, help="for files on the way, of up to 10 GB")
    parser.add_argument("--measured", nargs=2, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measured:
        step, name = given.measured
        with Workers(WORKERS) as workers:
            print(find(step, Path(name) / "units", Path(name) / "work", workers))
        return
    print(f"{'step':>10}  {'documents':>11}  {'dropped':>11}  {'seconds':>9}  {'peak, MB':>9}  {'left, MB':>9}")
    for step in given.steps:
        bench(step, given.documents or SIZES[step], given.folder)


if __name__ == "__main__":
    main()
