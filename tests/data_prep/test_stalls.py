"""No document stalls a run: what every step and tokenizer does to hard texts ends, within seconds.

A process of its own does it, which is ended where it hangs, in C too.
"""

from __future__ import annotations

import io
import json
import queue
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from tokenizers import normalizers

from benchmarks.fasttext_model import train_fasttext
from benchmarks.hard_texts import hard_texts
from custom_modules.data_steps.table import DATA_STEPS
from data_prep.quality.train import train_quality
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.quality import TINY_ENCODER, TINY_GBM, prose, word_salad
from tests.support.stalls import DONE
from tests.support.tokenizers import ENGLISH, make_byte_level

pytest.importorskip("datatrove")
pytest.importorskip("spacy")
pytestmark = pytest.mark.slow

LIMIT = 60
"""Seconds of one step with one text: some hundred times what it takes."""


class Worker:
    """Does to texts what a corpus goes through, each time from where it was ended."""

    def __init__(self, options: Path) -> None:
        self._command = [sys.executable, "-m", "tests.support.stalls", str(options)]
        self._process: subprocess.Popen[str] | None = None

    def run(self, kind: str) -> list[str]:
        """Return what has been done to a text; fails where it does not end."""
        if self._process is None:
            self._process = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            self._said: queue.Queue[str] = queue.Queue()
            threading.Thread(target=self._read, args=[self._process], daemon=True).start()
            assert self._said.get(timeout=2 * LIMIT) == "ready"
        assert self._process.stdin
        print(kind, file=self._process.stdin, flush=True)
        done: list[str] = []
        while not done or done[-1] != DONE:
            try:
                said = self._said.get(timeout=LIMIT)
            except queue.Empty:
                self.end()
                pytest.fail(f"{done[-1]} does not end with {kind}")
            assert said, f"{done[-1]} of {kind}: {self.end()}"
            done.append(said)
        return done[:-1]

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout
        for line in process.stdout:
            self._said.put(line.strip())
        self._said.put("")

    def end(self) -> str:
        """Return its last words."""
        if self._process is None:
            return ""
        self._process.kill()
        _, error = self._process.communicate()
        self._process = None
        return error[-2_000:]


@pytest.fixture(scope="module")
def steps(tmp_path_factory: pytest.TempPathFactory, write_jsonl: Callable[[Path, list[str]], Path]) -> dict[str, Any]:
    """Every step, with small models."""
    folder = tmp_path_factory.mktemp("steps")
    source, good = random.Random(0), prose()
    salad = [word_salad(source, good[0].split()) for _ in good]
    files = [write_jsonl(folder / "good.jsonl", good)], [write_jsonl(folder / "raw.jsonl", salad)]
    (folder / "tokenizer.model").write_bytes(train_tokenizer(good, 500))
    train_quality("gbm", folder / "gbm", *files, options=TINY_GBM)
    encoder = {**TINY_ENCODER, "epochs": 1, "tokenizer": str(folder / "tokenizer.model")}
    train_quality("encoder", folder / "encoder", *files, options=encoder)
    train_fasttext(folder).save_model(str(folder / "lid.bin"))
    (folder / "words.txt").write_text("spam\neggs and spam\n")
    options = {
        "url": {"use_integrated_lists": False, "banned_words": ["spam"], "banned_subwords": ["eggs"]},
        "language": {"model": str(folder / "lid.bin")},
        "c4_badwords": {"words": str(folder / "words.txt")},
        "decontaminate": {"files": [str(folder / "good.jsonl")]},
        "gbm_quality": {"model": str(folder / "gbm")},
        "encoder_quality": {"model": str(folder / "encoder")},
        "semdedup": {"encoder": str(folder / "encoder")},
        "prototypes": {"encoder": str(folder / "encoder")},
    }
    return {step.name: options.get(step.name, {}) for step in DATA_STEPS}


@pytest.fixture(scope="module")
def tokenizers(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[str, str]]:
    """Library and path of a model like Llama's, a Unigram model that normalizes, and a `tokenizer.json` that does."""
    folder = tmp_path_factory.mktemp("tokenizers")
    (folder / "llama.model").write_bytes(train_tokenizer(ENGLISH, 1_000))
    unigram = io.BytesIO()
    lines = (line for text in ENGLISH for line in text.splitlines())
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=lines, model_writer=unigram, vocab_size=500, normalization_rule_name="nmt_nfkc", minloglevel=2
    )
    (folder / "unigram.model").write_bytes(unigram.getvalue())
    byte_level: Any = make_byte_level()
    byte_level.normalizer = normalizers.NFC()
    byte_level.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}')
    names = {"sentencepiece": ("llama.model", "unigram.model"), "huggingface": ("tokenizer.json",)}
    return [(library, str(folder / name)) for library in names for name in names[library]]


@pytest.fixture(scope="module")
def worker(
    steps: dict[str, Any], tokenizers: list[tuple[str, str]], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("stalls")
    options = {"steps": steps, "tokenizers": tokenizers, "work": str(folder / "work")}
    (folder / "options.json").write_text(json.dumps(options))
    worker = Worker(folder / "options.json")
    yield worker
    worker.end()


@pytest.mark.parametrize("kind", hard_texts(1_000))
def test_all_of_it_ends(kind: str, steps: dict[str, Any], worker: Worker) -> None:
    done = worker.run(kind)
    assert {*steps} <= {*done} and len(done) >= len(steps) + 4
