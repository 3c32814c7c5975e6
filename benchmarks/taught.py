"""Times reading distilled samples with teachers' rows. Run by ``python -m benchmarks``."""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.dataset import training_dataset
from custom_modules.data.loader import Loader
from custom_modules.data.manifest import Manifest, Part, load_manifest
from custom_modules.distillation.rows import RowsNote, note_file, rows_file, rows_suffix
from custom_modules.distillation.rows_writer import make_records, publish_rows, reserve_rows, write_shard
from custom_modules.files import aside_of, sha256_of
from custom_modules.platform import Platform
from custom_modules.platform.environment import import_megatron_for
from data_prep.prepare import run
from data_prep.teach.register import register

ROUNDS = 3
TEACHERS = ("one", "two", "three")
TOP_K = 16


def main() -> None:
    """Prints the tokens/s of rounds over every distilled sample of the rehearsal's first stage."""
    with tempfile.TemporaryDirectory() as folder:
        teachers = ", ".join(f"{name}: {{targets: top_k}}" for name in TEACHERS)
        words = [
            f"data.dir={folder}/data",
            "trainer.devices=1",
            "trainer.accelerator=auto",
            f"distillation={{every_n_batches: 4, top_k: {TOP_K}, teachers: {{{teachers}}}}}",
        ]
        config = load_config("danube_rehearsal", words)
        import_megatron_for(config)
        _write_rows(config, run(config))
        manifest, stage = load_manifest(config), Curriculum.from_config(config).stages[0]
        platform, rates = Platform.detect(config), []
        with platform.running(config):
            dataset = training_dataset(config, manifest, stage, Path(folder) / "cache")
            distilled = range(3 * stage.global_batch_size, stage.num_samples, 4 * stage.global_batch_size)
            reader = Loader(config.data, config.model.vocab_size, 0, platform.device)
            for _ in range(ROUNDS):
                begun, tokens = time.perf_counter(), 0
                for first in distilled:
                    samples = range(first, first + stage.global_batch_size)
                    with reader.open(dataset, stage, samples) as batches:
                        tokens += sum(batch["teacher_ids"].shape[0] * stage.seq_length for batch in batches)
                platform.synchronize()
                rates.append(tokens / (time.perf_counter() - begun))
    print(json.dumps(rates))


def _write_rows(config: Config, manifest: Manifest) -> None:
    for _, _, part in manifest.datasets():
        for teacher in TEACHERS if part.stream == "distilled" else ():
            path = rows_file(part.prefix, teacher)
            _publish(path, manifest, part, teacher)
            files = {rows_suffix(teacher): path, f"{rows_suffix(teacher)}.json": note_file(path)}
            register(config, part, files, {})


def _publish(path: Path, manifest: Manifest, part: Part, teacher: str) -> None:
    """Write rows of random tokens, of probabilities that fall off as a model's do."""
    tokenizer, aside = manifest.tokenizer, aside_of(path)
    source = np.random.default_rng(0)
    ids = source.integers(0, tokenizer.vocab_size, (part.tokens, TOP_K))
    reserve_rows(aside, part.tokens, TOP_K)
    write_shard(aside, 0, make_records(ids, np.tile(0.5 ** np.arange(1, TOP_K + 1), (part.tokens, 1))))
    note = RowsNote(
        teacher=teacher,
        model="random",
        k=TOP_K,
        tokens=part.tokens,
        positions=part.tokens - part.documents,
        covered=part.tokens - part.documents,
        bin_sha256=part.sha256["bin"],
        idx_sha256=part.sha256["idx"],
        tokenizer_sha256=tokenizer.sha256,
        vocab_size=tokenizer.vocab_size,
        sha256=sha256_of(aside),
    )
    publish_rows(aside, path, note)


if __name__ == "__main__":
    main()
