"""A small model to evaluate, as a run's checkpoint and as its export, with data and suites for it."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.evaluation import sentences, write_data

SHAPE = [
    "trainer.devices=1",
    "trainer.cpu_threads=1",
    "model.num_layers=2",
    "model.hidden_size=64",
    "model.ffn_hidden_size=80",
    "model.num_attention_heads=8",
    "model.num_query_groups=2",
    "model.vocab_size=500",
    "model.make_vocab_size_divisible_by=48",
    "model.sliding_window=96",
    "curriculum.stages.stage4={tokens: 3000, encoder_seq_length: 512}",
    "curriculum.stages.stage3={tokens: 3000, encoder_seq_length: 256}",
]
"""Its longest stage has 512 tokens, and a window is shorter than the longest prompts."""
MAX_LENGTH = 512


@dataclass(frozen=True)
class Evaluated:
    """What is there to evaluate; not to be changed."""

    run: Path
    checkpoint: Path
    export: Path
    data: Path
    suite: Path
    """Tasks of the library, one of which generates."""
    items: Path
    """Own items."""


def make_evaluated(folder: Path) -> Evaluated:
    from custom_modules.config.load import load_config
    from custom_modules.conversion.hf_export import to_hf
    from tests.support.trained import make_trained

    write_data(folder / "data")
    trained = make_trained(load_config("danube_rehearsal", SHAPE), make_tokenizer(folder), folder / "run", [])
    to_hf(trained.checkpoint, folder / "export")
    suite = folder / "small.yaml"
    suite.write_text(
        "title: small\n"
        "tasks:\n"
        "  - {task: arc_easy, metric: acc_norm}\n"
        "  - {task: winogrande, num_fewshot: 5, metric: acc}\n"
        "  - {task: triviaqa, num_fewshot: 1, metric: exact_match}\n"
    )
    return Evaluated(
        folder / "run",
        trained.checkpoint,
        folder / "export",
        folder / "data",
        suite,
        write_items(folder / "own.jsonl", own_items(60)),
    )


def make_tokenizer(folder: Path) -> Path:
    import sentencepiece

    from tests.support.tokenizers import LLAMA

    (folder / "tokenizer").mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()),
        model_prefix=str(folder / "tokenizer" / "tokenizer"),
        vocab_size=500,
        **LLAMA,
    )
    return folder / "tokenizer" / "tokenizer.model"


def own_items(count: int, seed: int = 5) -> list[dict[str, Any]]:
    """Items of all lengths: of single tokens, of sentences, and such whose context does not fit."""
    source = random.Random(seed)
    texts = sentences()
    found = []
    for number in range(count):
        context = " ".join(source.choices(texts, k=1 + (number % 7) ** 2 // 3))
        choices = list("ABCD") if number % 2 else [text[:-1] for text in source.sample(texts, 4)]
        found.append({"context": f"{context}\nAnswer:", "choices": choices, "answer": number % 4})
    return found


def write_items(path: Path, items: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    return path


def samples(folder: Path) -> list[dict[str, Any]]:
    """The items of a finished evaluation, without their numbers, in the order of their prompts."""
    lines = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    plain = [{name: value for name, value in line.items() if name not in ("number", "task", "group")} for line in lines]
    return sorted(plain, key=lambda line: str(line["prompt_hash"]))
