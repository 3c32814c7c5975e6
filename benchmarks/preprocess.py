"""Text to a Megatron indexed dataset in three ways: `danube prepare`, as Megatron-LM's tool does it, and that tool.

Megatron-LM's ``tools/preprocess_data.py`` has a pool of processes encode one document at a time with SentencePiece, and
its parent adds each to an ``IndexedDatasetBuilder``. The imitation does that and writes what `danube prepare` writes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import resource
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from benchmarks.prepare_steps import peak_mib

VOCAB_SIZE = 32_000
WORKERS = 2
OVERRIDES = [
    f"model.vocab_size={VOCAB_SIZE}",
    "data.train_tokenizer=false",
    "data.validation_fraction=0.01",
    f"data.workers={WORKERS}",
    "curriculum.stages={stage1: {tokens: 2734375, encoder_seq_length: 128}}",
    *(f"~curriculum.stages.stage{number}" for number in (2, 3, 4)),
]
PREPARE, IMITATED, TOOL = "danube prepare", "as Megatron-LM's tool", "Megatron-LM's tool"
_TOOL = Path("tools", "preprocess_data.py")


@dataclass(frozen=True)
class Timing:
    """A whole command."""

    seconds: float
    mib: float
    """Of its largest process."""


def ways() -> list[str]:
    """Return what there is to time: the tool itself where ``MEGATRON_LM`` names a checkout of its repository."""
    return [PREPARE, IMITATED, *([TOOL] if os.environ.get("MEGATRON_LM") else [])]


def timed(way: str, text: Path, model: Path, folder: Path) -> Timing:
    """Run a way in a fresh process.

    Args:
        text: JSON lines.
        model: a SentencePiece model.
        folder: a new one, for the result.
    """
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.preprocess", way, str(text), str(model), str(folder)]
    begun = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{way}: {done.stderr.strip().splitlines()[-1]}")
    return Timing(seconds, float(done.stdout.splitlines()[-1]))


def written(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that `danube prepare` or the imitation has left."""
    files = [*folder.glob("stage1/text_*.bin"), *folder.glob("stage1/text_*.idx")]
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def documents(folder: Path) -> Counter[bytes]:
    """Return how often each document is in all datasets of a folder, by the hash of its tokens."""
    import numpy as np

    from custom_modules.data.index import open_index

    found = Counter[bytes]()
    for path in folder.rglob("*.idx"):
        index = open_index(path)
        tokens = np.memmap(path.with_suffix(".bin"), index.dtype, mode="r")
        ends = np.cumsum(index.lengths, dtype=np.int64)
        found.update(
            hashlib.blake2b(tokens[end - length : end].tobytes(), digest_size=16).digest()
            for end, length in zip(ends.tolist(), index.lengths.tolist(), strict=True)
        )
    return found


def _prepare(text: Path, model: Path, folder: Path) -> None:
    words = ["prepare", "--config-name", "danube_rehearsal", *OVERRIDES]
    words += [f"data.dir={folder}", f"data.input={text}", f"model.tokenizer.model={model}"]
    subprocess.run([sys.executable, "-m", "custom_modules.cli", *words], check=True, stdout=subprocess.DEVNULL)


def _tool(text: Path, model: Path, folder: Path) -> None:
    words = [f"--input={text}", f"--output-prefix={folder / 'all'}", "--append-eod", f"--workers={WORKERS}"]
    words += ["--tokenizer-type=SentencePieceTokenizer", f"--tokenizer-model={model}"]
    script = Path(os.environ["MEGATRON_LM"]) / _TOOL
    subprocess.run([sys.executable, script, *words], check=True, stdout=subprocess.DEVNULL)


_processor = None
_assignment = None


def _load(model: str) -> None:
    global _processor, _assignment
    from sentencepiece import SentencePieceProcessor

    from custom_modules.config.load import load_config
    from data_prep.tokenize.assignment import Assignment

    _processor = SentencePieceProcessor(model_file=model)
    _assignment = Assignment.from_config(load_config("danube_rehearsal", OVERRIDES))


def _encode(line: str) -> tuple[int, list[int]]:
    assert _processor is not None and _assignment is not None
    text = json.loads(line)["text"]
    return _assignment.destination(text, "text"), [*_processor.encode(text), _processor.eos_id()]


def _imitate(text: Path, model: Path, folder: Path) -> None:
    import numpy as np
    import torch
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

    from custom_modules.config.load import load_config
    from data_prep.tokenize.assignment import Assignment

    assignment = Assignment.from_config(load_config("danube_rehearsal", OVERRIDES))
    (folder / "stage1").mkdir()
    prefixes = [folder / stage / f"{source}_{split}" for stage, source, split in assignment.destinations]
    builders = [IndexedDatasetBuilder(f"{prefix}.bin", dtype=np.uint16) for prefix in prefixes]
    with multiprocessing.Pool(WORKERS, _load, (str(model),)) as pool, text.open(encoding="utf-8") as lines:
        for destination, ids in pool.imap(_encode, lines, 32):
            builders[destination].add_item(torch.IntTensor(ids))
            builders[destination].end_document()
    for builder, prefix in zip(builders, prefixes, strict=True):
        builder.finalize(f"{prefix}.idx")


if __name__ == "__main__":
    {PREPARE: _prepare, IMITATED: _imitate, TOOL: _tool}[sys.argv[1]](*map(Path, sys.argv[2:5]))
    print(max(peak_mib(os.getpid()), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024))
