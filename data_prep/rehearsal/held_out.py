"""``python -m data_prep.rehearsal.held_out RUN EXPORT DATA``: what a rehearsed fine-tuning did to held-out prompts.

RUN is the run of ``danube sft``, EXPORT what ``danube convert to-hf`` made of it, DATA its ``data.dir``. Two lines are
printed: the held-out loss before and after, and how many answers end by themselves; either may be too little.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from custom_modules.chat.model import ChatModel
from custom_modules.data.chat_manifest import read_chat_manifest
from custom_modules.data.conversations import Samples
from custom_modules.errors import UserError
from custom_modules.run_folder.metrics import ValidationMetrics, read_metrics
from custom_modules.standard_streams import finished

_LEAST_FALL, _LEAST_SHARE = 1.0, 0.9
_AT_ONCE = 20


def losses(run: Path) -> tuple[float, float]:
    """Return the held-out losses of a run's first and last validation, in nats a token of answers.

    Raises:
        UserError: it is no run, or was not validated before its first step.
    """
    found = [record for record in read_metrics(run) if isinstance(record, ValidationMetrics)]
    if not found or found[0].tokens:
        raise UserError(f"{run}: has no validation from before its first step; give a run of `danube sft`")
    return found[0].loss, found[-1].loss


def prompts(data: Path) -> list[list[int]]:
    """Return the ids in front of each answer of the held-out conversations: the prompts, as a chat has them.

    Raises:
        UserError: no conversations are prepared there.
    """
    manifest = read_chat_manifest(data)
    if manifest is None or manifest.kind != "conversations":
        raise UserError(f"{data}: no conversations are prepared there; give the data.dir of a run of `danube sft`")
    samples = Samples(data / "validation")
    return [prompt for number in range(len(samples)) for prompt in _prompts(*samples[number])]


def _prompts(ids: NDArray[np.int64], answers: NDArray[np.bool_]) -> Iterator[list[int]]:
    begins = np.flatnonzero(np.diff(answers.astype(np.int8), prepend=0) == 1)
    return (ids[:begin].tolist() for begin in begins if begin)


def spread(every: Sequence[list[int]], count: int) -> list[list[int]]:
    """Return so many of them, or all, at equal distances: they lie by source."""
    chosen = np.linspace(0, len(every), min(count, len(every)), endpoint=False)
    return [every[int(place)] for place in chosen]


def check(run: Path, export: Path, data: Path, count: int, max_new_tokens: int, fall: float, share: float) -> None:
    """Print both lines.

    Args:
        count: the most prompts to ask.
        max_new_tokens: an answer that is longer has not ended.
        fall, share: the least that will do, of the loss in nats and of the answers.

    Raises:
        UserError: one is less, or there is nothing to ask.
    """
    before, after = losses(run)
    print(f"held-out loss over answers: {before:.3f} nats a token before SFT, {after:.3f} after it", flush=True)
    asked = spread(prompts(data), count)
    if not asked:
        raise UserError(f"{data}: no prompt is held out; prepare it with a larger data.validation_fraction")
    model = ChatModel(export)
    ended = sum(
        sum(model.ends(asked[first : first + _AT_ONCE], max_new_tokens)) for first in range(0, len(asked), _AT_ONCE)
    )
    print(f"{ended} of {len(asked)} held-out prompts get an answer that ends by itself", flush=True)
    if before - after < fall:
        raise UserError(
            f"{run}: the held-out loss fell by {before - after:.3f} nats, and not by {fall:g}; train longer"
        )
    if ended < share * len(asked):
        raise UserError(
            f"{export}: {ended} of {len(asked)} held-out prompts get an answer that ends within {max_new_tokens} "
            f"tokens, and not {share:.0%}; train longer"
        )


def main(arguments: Sequence[str]) -> int:
    """Print, and compare; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.held_out", description=__doc__)
    parser.add_argument("run", type=Path, help="of `danube sft`")
    parser.add_argument("export", type=Path, help="what `danube convert to-hf` made of it")
    parser.add_argument("data", type=Path, help="its data.dir")
    parser.add_argument("--prompts", type=int, default=40, help="the most to ask")
    parser.add_argument("--max-new-tokens", type=int, default=256, help="an answer that is longer has not ended")
    parser.add_argument("--least-fall", type=float, default=_LEAST_FALL, help="of the loss, in nats")
    parser.add_argument("--least-share", type=float, default=_LEAST_SHARE, help="of answers that end by themselves")
    given = parser.parse_args(arguments)
    return finished(
        lambda: check(
            given.run,
            given.export,
            given.data,
            given.prompts,
            given.max_new_tokens,
            given.least_fall,
            given.least_share,
        )
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
