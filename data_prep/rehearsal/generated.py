"""``python -m data_prep.rehearsal.generated MODEL FILE``: a rehearsal's machine-generated text."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import orjson
import torch

from custom_modules.files import whole_file
from custom_modules.standard_streams import finished
from data_prep.rehearsal.sampling import Sampler
from data_prep.teach.teacher import load_teacher, open_teacher


def generate(model: Path, texts: int, max_tokens: int, seed: int) -> Iterator[str]:
    """Yield texts that a model makes up, each from its beginning.

    Raises:
        UserError: the folder is no causal language model.
    """
    sampler = Sampler(load_teacher(open_teacher(model), torch.device("cpu"), None), seed)
    for found in sampler.continue_texts([""] * texts, max_tokens):
        if text := found.text.strip():
            yield text


def main(arguments: Sequence[str]) -> int:
    """Generate; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.generated", description=__doc__)
    parser.add_argument("model", type=Path, help="the local folder of a Hugging Face causal language model")
    parser.add_argument("file", type=Path, help="JSON lines to write")
    parser.add_argument("--texts", type=int, default=512, help="how many")
    parser.add_argument("--max-tokens", type=int, default=256, help="of a text, in the model's tokens")
    parser.add_argument("--seed", type=int, default=1234)
    given = parser.parse_args(arguments)

    def write() -> None:
        lines = [
            orjson.dumps({"text": text}) for text in generate(given.model, given.texts, given.max_tokens, given.seed)
        ]
        whole_file(given.file, b"\n".join(lines) + b"\n")

    return finished(write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
