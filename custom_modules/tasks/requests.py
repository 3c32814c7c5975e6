"""What the tasks' classes have in common: an item's hash, and the figures that come of log-likelihoods alone."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence

from custom_modules.tasks.items import Answer, Continuation, Generation, Item


def prompt_hash(requests: Sequence[Continuation | Generation]) -> str:
    """Return the SHA-256 of requests, which two have in common if they ask the same in the same order."""
    plain = [
        ["continuation", one.context, one.text]
        if isinstance(one, Continuation)
        else ["generation", one.context, list(one.until), one.max_new_tokens]
        for one in requests
    ]
    return hashlib.sha256(json.dumps(plain).encode()).hexdigest()


def log_likelihoods(answers: Sequence[Answer]) -> list[float]:
    """Return the log-likelihoods in nats of an item's answers, of which each has one."""
    found = [answer.log_likelihood for answer in answers]
    assert None not in found, "an answer without a log-likelihood"
    return [value for value in found if value is not None]


def is_tie(values: Sequence[float]) -> bool:
    """Tell whether the best value is there more than once."""
    return sum(value == max(values) for value in values) > 1


def right_answer(item: Item, answers: Sequence[Answer]) -> tuple[float | None, int | None]:
    """Return the bits of the right answer and its UTF-8 bytes; None of both where there is not one."""
    if item.right is None:
        return None, None
    request = item.requests[item.right]
    assert isinstance(request, Continuation)
    return -log_likelihoods(answers)[item.right] / math.log(2), len(request.text.encode())
