"""What several models made of the same prompts: ``answers.json``, which says whose an answer is."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from custom_modules.comparison.prompts import Prompt
from custom_modules.errors import UserError
from custom_modules.files import readable

ANSWERS = "answers.json"
CRITERIA = ("coherence", "factual accuracy", "depth of knowledge", "creativity")
"""The dimensions that the report looks at (LokiLM, section 3.2)."""
MARKS = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Answers:
    """All answers of a comparison.

    Attributes:
        models: their names.
        answers: of each prompt, that of each model.
        order: of each prompt, the models in the order that the page shows them in.
    """

    models: list[str]
    prompts: list[Prompt]
    answers: list[list[str]]
    order: list[list[int]]
    seed: int
    max_new_tokens: int
    blind: bool

    @property
    def id(self) -> str:
        """Tells a page's marks from another's."""
        return hashlib.sha256(self.as_json().encode()).hexdigest()[:16]

    def as_json(self) -> str:
        """Return the content of `ANSWERS`."""
        return json.dumps(asdict(self), ensure_ascii=False, indent=1)


def page_order(models: int, answers: Sequence[Sequence[str]], blind: bool) -> list[list[int]]:
    """Return for each prompt the order of the models; blind, one that follows from nothing but the answers."""
    source = random.Random(hashlib.sha256(json.dumps(answers).encode()).digest())
    return [source.sample(range(models), models) if blind else [*range(models)] for _ in answers]


def read_answers(folder: Path) -> Answers:
    """Read what `danube sample --compare` wrote beside a page.

    Raises:
        UserError: it is missing, or something else.
    """
    path = folder / ANSWERS
    with readable(path):
        content = path.read_bytes()
    try:
        plain: dict[str, Any] = json.loads(content)
        prompts = [Prompt(**prompt) for prompt in plain.pop("prompts")]
        return Answers(prompts=prompts, **plain)
    except (ValueError, TypeError, LookupError, AttributeError):
        raise UserError(f"{path}: not what `danube sample --compare` writes; put that back") from None
