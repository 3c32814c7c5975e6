"""``python -m data_prep.rehearsal.answers MODEL PROMPTS FILE``: a small model answers in an API's form.

PROMPTS is what ``danube teach --prompts`` writes, FILE what ``danube teach --import`` takes: a document's hash, a text
that continues its beginning, and the log-probabilities as OpenAI's chat completions have them (``logprobs.content``).
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson
import torch

from custom_modules.files import explained, whole_file
from custom_modules.standard_streams import finished
from data_prep.rehearsal.sampling import Continuation, Sampler
from data_prep.teach.teacher import load_teacher, open_teacher

_TOP = 5


def answers(model: Path, prompts: Path, max_tokens: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield an answer to each prompt, in their order.

    Args:
        max_tokens: of an answer, in the model's tokens; one that is cut there says so, as an API's does.

    Raises:
        UserError: the folder is no causal language model, or there is no such file.
    """
    with explained(prompts):
        asked = [orjson.loads(line) for line in prompts.read_bytes().splitlines()]
    sampler = Sampler(load_teacher(open_teacher(model), torch.device("cpu"), None), seed, _TOP)
    for prompt, found in zip(
        asked, sampler.continue_texts([each["prompt"] for each in asked], max_tokens), strict=True
    ):
        yield {"hash": prompt["hash"], **as_an_api_has_it(found)}


def as_an_api_has_it(found: Continuation) -> dict[str, Any]:
    """Return a continuation as the message of a choice and its log-probabilities are in OpenAI's answers."""
    content = [
        _entry(token.content, token.log_probability) | {"top_logprobs": [_entry(*other) for other in token.others]}
        for token in found.tokens
    ]
    return {
        "text": found.text,
        "finish_reason": "stop" if found.ended else "length",
        "logprobs": {"content": content},
    }


def _entry(content: bytes, log_probability: float) -> dict[str, Any]:
    text = content.decode(errors="replace")
    return {"token": text, "logprob": min(0.0, log_probability), "bytes": list(content)}


def main(arguments: Sequence[str]) -> int:
    """Answer; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.answers", description=__doc__)
    parser.add_argument("model", type=Path, help="the local folder of a Hugging Face causal language model")
    parser.add_argument("prompts", type=Path, help="JSON lines that `danube teach --prompts` wrote")
    parser.add_argument("file", type=Path, help="JSON lines to write")
    parser.add_argument("--max-tokens", type=int, default=128, help="of an answer, in the model's tokens")
    parser.add_argument("--seed", type=int, default=1234)
    given = parser.parse_args(arguments)

    def write() -> None:
        every = answers(given.model, given.prompts, given.max_tokens, given.seed)
        whole_file(given.file, b"".join(orjson.dumps(answer) + b"\n" for answer in every))

    return finished(write)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
