"""Up to date means: all options are the same, but for those that cannot matter."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import data_prep.prepare
from custom_modules.config.marks import known_keys
from custom_modules.config.schema import Config
from data_prep.prepare import run

MakeConfig = Callable[..., Config]
Texts = Callable[..., list[str]]
Write = Callable[[Path, list[str]], Path]

CHANGES = {
    "data.text_key": "data.text_key=content",
    "data.url_key": "data.url_key=address",
    "data.on_error": "data.on_error=raise",
    "data.validation_fraction": "data.validation_fraction=0.4",
    "data.train_tokenizer": "data.train_tokenizer=true model.tokenizer.model=null",
    "data.steps.gopher_quality": "data.steps.gopher_quality={min_doc_words: 2}",
    "data.steps.gopher_repetition": "data.steps.gopher_repetition={dup_line_frac: 0.9}",
    "data.steps.c4_quality": "data.steps.c4_quality={min_num_sentences: 1}",
    "data.steps.c4_paragraphs": "data.steps.c4_paragraphs={min_paragraphs: 1}",
    "data.steps.fineweb_quality": "data.steps.fineweb_quality={new_line_ratio: 0.5}",
    "data.steps.url": "data.steps.url={soft_word_threshold: 3}",
    "data.steps.facts": "data.steps.facts={}",
    "data.steps.exact": "data.steps.exact={}",
    "data.steps.minhash": "data.steps.minhash={num_buckets: 3}",
}
CANNOT_MATTER = {
    "data.on_damaged_file": "data.on_damaged_file=skip",  # where no file is damaged: see test_damaged_files
    "data.shard_bytes": "data.shard_bytes=9000",
    "data.workers": "data.workers=2",
    "data.executor": "data.executor=ray",
    "data.slurm.partition": "data.slurm.partition=cpu",
    "data.slurm.time": "data.slurm.time=1:00:00",
    "data.slurm.cpus_per_task": "data.slurm.cpus_per_task=3",
    "data.slurm.mem_per_cpu_gb": "data.slurm.mem_per_cpu_gb=9",
    "data.slurm.sbatch_args": "data.slurm.sbatch_args={qos: high}",
    "data.max_epochs": "data.max_epochs=7",
    "data.loader": "data.loader=dali",
    "data.prefetch_factor": "data.prefetch_factor=5",
    "data.reset_attention_mask": "data.reset_attention_mask=true",
    "data.reset_position_ids": "data.reset_position_ids=true",
    "data.eod_mask_loss": "data.eod_mask_loss=true",
}
NEED_FILES = {
    f"data.steps.{step}"
    for step in (
        "language",
        "c4_badwords",
        "gbm_quality",
        "encoder_quality",
        "decontaminate",
        "semdedup",
        "prototypes",
    )
}
"""Steps that are built from files of the user's: what they are told is in the identity in the same way."""
ELSEWHERE = {"data.dir", "data.input", "data.sources"}
"""Another folder; and other files, which `test_prepare` and the last test here change."""


def keys() -> set[str]:
    """Every key of ``data``, a step and a dictionary as one."""
    found = set()
    for key in known_keys(Config):
        parts = key.split(".")
        if parts[0] == "data":
            found.add(".".join(parts[:3]))
    return found


def test_every_key_is_here() -> None:
    assert keys() == {*CHANGES, *CANNOT_MATTER, *NEED_FILES, *ELSEWHERE}


@pytest.mark.slow
def test_every_key_that_matters_prepares_again(
    tmp_path: Path, make_config: MakeConfig, make_texts: Texts, write_jsonl: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The decision is looked at, not the work that follows from it."""
    path = write_jsonl(tmp_path / "a.jsonl", make_texts(60))
    base = "data.steps.gopher_quality={min_doc_words: 1, min_avg_word_length: 1, min_stop_words: 0}"
    run(make_config(path, base))
    begun: list[Any] = []

    class Begun(Exception):
        pass

    def begin(*arguments: Any) -> None:
        begun.append(arguments)
        raise Begun

    monkeypatch.setattr(data_prep.prepare, "_prepare", begin)

    def prepares(*more: str) -> bool:
        before = len(begun)
        with suppress(Begun):
            run(make_config(path, base, *more))
        return len(begun) > before

    assert not prepares()
    for key, change in CANNOT_MATTER.items():
        assert not prepares(*change.split(" ")) if "{" not in change else not prepares(change), key
    for key, change in CHANGES.items():
        assert prepares(*(change.split(" ") if "{" not in change else [change])), key
    assert prepares("data.input=null", f"data.sources.web={path}"), "data.sources"
    other = write_jsonl(tmp_path / "b.jsonl", make_texts(60))
    assert prepares(f"data.input={other}"), "data.input"
    assert prepares("model.seed=9")
    assert prepares("curriculum.stages.stage2.tokens=1000")
    assert not prepares("curriculum.stages.stage2.encoder_seq_length=512")
