"""`make bench-data`: text to Megatron indexed datasets, against the way Megatron-LM's tool takes, on the same corpus.

The peer does what ``tools/preprocess_data.py`` does with a SentencePiece model: a pool of two processes encodes one
document at a time, and the parent adds it to an ``IndexedDatasetBuilder``. Both write the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import orjson

from benchmarks.prepare_steps import bench_prepare_steps

PAIRS = 2
CORPUS_BYTES = 1_000_000_000
"""So much that starting up and proving that the tokenizers agree weigh little, as they do with a real corpus."""
VOCAB_SIZE = 32_000
WORKERS = 2
SUFFIXES = {".py", ".pyi", ".md", ".rst", ".txt"}
OVERRIDES = [
    f"model.vocab_size={VOCAB_SIZE}",
    "data.train_tokenizer=false",
    "data.validation_fraction=0.01",
    f"data.workers={WORKERS}",
    "curriculum.stages={stage1: {tokens: 2734375, encoder_seq_length: 128}}",
    *(f"~curriculum.stages.stage{number}" for number in (2, 3, 4)),
]


def corpus(path: Path) -> None:
    """English and code that this Python installation carries, as JSON lines, again and again until it is enough."""
    written = 0
    with path.open("wb") as stream:
        for text in itertools.cycle(list(_texts())):
            line = orjson.dumps({"text": text}) + b"\n"
            written += stream.write(line)
            if written > CORPUS_BYTES:
                return


def _texts() -> Iterator[str]:
    from custom_modules.config.load import load_config
    from data_prep.prepare import run

    with tempfile.TemporaryDirectory() as folder:
        run(load_config("danube_rehearsal", [f"data.dir={folder}"]))
        for piece in sorted((Path(folder) / "raw" / "builtin").glob("*.jsonl")):
            for line in piece.open("rb"):
                yield orjson.loads(line)["text"]
    for file in sorted(Path(sys.prefix, "lib").rglob("*")):
        if file.suffix in SUFFIXES and file.is_file():
            text = file.read_text(errors="ignore")
            if text.strip():
                yield text


def tokenizer(text: Path, path: Path) -> None:
    from data_prep.tokenize.train_tokenizer import train_tokenizer

    lines = (orjson.loads(line)["text"] for number, line in enumerate(text.open("rb")) if number % 4 == 0)
    path.write_bytes(train_tokenizer(lines, VOCAB_SIZE))


def prepare(text: Path, model: Path, folder: Path) -> None:
    subprocess.run(
        [
            *(sys.executable, "-m", "custom_modules.cli", "prepare", "--config-name", "danube_rehearsal", *OVERRIDES),
            *(f"data.dir={folder}", f"data.input={text}", f"model.tokenizer.model={model}"),
        ],
        check=True,
        capture_output=True,
    )


_processor = None


def _load(model: str) -> None:
    global _processor
    from sentencepiece import SentencePieceProcessor

    _processor = SentencePieceProcessor(model_file=model)


def _encode(line: bytes) -> tuple[str, list[int]]:
    assert _processor is not None
    text = json.loads(line)["text"]
    return text, [*_processor.encode(text), _processor.eos_id()]


def peer(text: Path, model: Path, folder: Path) -> None:
    import numpy as np
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    from custom_modules.config.load import load_config
    from data_prep.tokenize.assignment import Assignment

    config = load_config("danube_rehearsal", OVERRIDES)
    assignment = Assignment.from_config(config)
    (folder / "stage1").mkdir(parents=True)
    prefixes = [folder / stage / f"{source}_{split}" for stage, source, split in assignment.destinations]
    builders = [IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16) for prefix in prefixes]
    with multiprocessing.Pool(WORKERS, _load, (str(model),)) as pool, text.open("rb") as lines:
        for document, ids in pool.imap(_encode, lines, 32):
            builder = builders[assignment.destination(document, "text")]
            builder.add_item(torch.IntTensor(ids))
            builder.end_document()
    for builder, prefix in zip(builders, prefixes, strict=True):
        builder.finalize(f"{prefix}.idx")


def timed(what: str, text: Path, model: Path, folder: Path) -> tuple[float, float]:
    """Wall seconds of a fresh process, and the MiB of its largest process."""
    begun = time.perf_counter()
    command = [sys.executable, "-m", "benchmarks.data", what, str(text), str(model), str(folder)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return time.perf_counter() - begun, float(done.stdout)


def digests(folder: Path) -> dict[str, str]:
    files = [*folder.glob("stage1/text_*.bin"), *folder.glob("stage1/text_*.idx")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def main() -> None:
    from custom_modules.config.load import load_config
    from custom_modules.data.manifest import load_manifest

    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        text, model = work / "corpus.jsonl", work / "tokenizer.model"
        corpus(text)
        tokenizer(text, model)
        rows: dict[str, list[tuple[float, float]]] = {"prepare": [], "peer": []}
        for pair in range(PAIRS):
            for what, results in rows.items():
                results.append(timed(what, text, model, work / f"{what}{pair}"))
            assert digests(work / f"prepare{pair}") == digests(work / f"peer{pair}"), "the bytes differ"
        manifest = load_manifest(load_config("danube_rehearsal", [*OVERRIDES, f"data.dir={work / 'prepare0'}"]))
        tokens = sum(part.tokens for splits in manifest.stages.values() for parts in splits.values() for part in parts)
        size = text.stat().st_size / 1e6
        print(f"\n{size:,.0f} MB, {tokens:,} tokens, {WORKERS} workers, median of {PAIRS} runs in turn")
        print(f"{'':>34}  {'seconds':>8}  {'tokens/s':>10}  {'MiB':>6}")
        names = {"prepare": "danube prepare", "peer": "sentencepiece, IndexedDatasetBuilder"}
        for what, results in rows.items():
            seconds = statistics.median(wall for wall, _ in results)
            memory = max(peak for _, peak in results)
            print(f"{names[what]:>34}  {seconds:8.1f}  {tokens / seconds:10,.0f}  {memory:6,.0f}")
        ratios = [other / ours for (ours, _), (other, _) in zip(rows["prepare"], rows["peer"], strict=True)]
        each = " ".join(f"{ratio:.1f}" for ratio in ratios)
        print(f"tokens/s: {statistics.median(ratios):.1f} times ({each}), the same bytes")
        bench_prepare_steps(text, model, work, WORKERS)


if __name__ == "__main__":
    if len(sys.argv) == 1:
        main()
    else:
        {"prepare": prepare, "peer": peer}[sys.argv[1]](*map(Path, sys.argv[2:5]))
        print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
