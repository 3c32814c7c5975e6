"""Times the training step with documents that don't see each other over that without. Run by ``python -m benchmarks``.

The documents are made up: random ids, log-normal lengths with a mean of 400 tokens, and an end behind each.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.index import IndexedDatasetWriter
from custom_modules.data.manifest import FORMAT, MANIFEST, Manifest, Part, TokenizerEntry
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron

KINDS: dict[str, list[str]] = {"masked": ["data.reset_attention_mask=true"], "plain": []}
LENGTH, MEAN = 4096, 400
STEPS, EOS_ID = 9, 2
SAME = [
    *["trainer.devices=1", "trainer.cpu_threads=1", f"model.global_batch_tokens={LENGTH}", "model.micro_batch_size=1"],
    f"curriculum.stages.stage1={{tokens: {(STEPS + 1) * LENGTH}, encoder_seq_length: {LENGTH}}}",
]
SETTINGS: dict[str, list[str]] = {
    "fp32, no window": ["model.sliding_window=null"],
    "fp32, window of 1,024": ["model.sliding_window=1024"],
    "bf16, no window": ["model.sliding_window=null", "trainer.precision=bf16-mixed"],
}


def write_documents(config: Config, folder: Path) -> Manifest:
    """Write a stage of documents, and return what a manifest says of it."""
    source = np.random.default_rng(0)
    wanted = 2 * (STEPS + 1) * LENGTH
    lengths = np.ceil(source.lognormal(np.log(MEAN) - 0.5, 1, wanted // MEAN)).astype(np.int32)
    tokens = source.integers(EOS_ID + 1, config.model.vocab_size, lengths.sum()).astype(np.uint16)
    tokens[np.cumsum(lengths) - 1] = EOS_ID
    writer = IndexedDatasetWriter(folder / "text", tokens.dtype)
    writer.append(tokens, lengths)
    data, index = writer.finish()
    part = Part(
        prefix=folder / "text",
        source="text",
        documents=len(lengths),
        tokens=len(tokens),
        dtype=tokens.dtype.name,
        bytes={"bin": data.bytes, "idx": index.bytes},
        sha256={"bin": data.sha256, "idx": index.sha256},
    )
    entry = TokenizerEntry("sentencepiece", "none", "", config.model.vocab_size, EOS_ID)
    return Manifest(folder / MANIFEST, FORMAT, {}, entry, {"stage1": {"train": [part]}})


def steps_of(config: Config, platform: Platform, manifest: Manifest, stack: ExitStack) -> Callable[[], None]:
    """Return what trains the next step on the documents."""
    from custom_modules.data.dataset import training_dataset
    from custom_modules.data.documents import documents_of
    from custom_modules.data.loader import Loader
    from custom_modules.training.engine import Engine

    curriculum = Curriculum.from_config(config)
    stage = curriculum.stages[0]
    engine = Engine(config, curriculum, platform)
    dataset = training_dataset(config, manifest, stage, manifest.path.parent / "cache")
    documents = documents_of(config, manifest.eos_id)
    loader = Loader(config.data, config.model.vocab_size, 0, platform.device, documents)
    batches = stack.enter_context(loader.open(dataset, stage, range(stage.num_samples)))

    def step() -> None:
        engine.train_step(batches, stage)

    return step


def measure(setting: str, kinds: list[str]) -> dict[str, list[float]]:
    """Return the CPU seconds of steps of each kind, run in turn."""
    configs = {kind: load_config("danube_rehearsal", [*SAME, *SETTINGS[setting], *KINDS[kind]]) for kind in kinds}
    config = next(iter(configs.values()))
    platform = Platform.detect(config)
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    with tempfile.TemporaryDirectory() as folder, platform.running(config), ExitStack() as stack:
        manifest = write_documents(config, Path(folder))
        run = {kind: steps_of(config, platform, manifest, stack) for kind, config in configs.items()}
        for number in range(STEPS + 1):
            for kind, step in run.items():
                begun = time.process_time()
                step()
                if number:
                    seconds[kind].append(time.process_time() - begun)
    return seconds


def peak_bytes() -> int:
    """Return the most resident memory that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.masking", description=__doc__)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=list(KINDS))
    options = parser.parse_args()
    import_megatron()
    seconds = measure(options.setting, options.kinds)
    print(json.dumps({"seconds": seconds, "peak_bytes": peak_bytes()}))


if __name__ == "__main__":
    main()
