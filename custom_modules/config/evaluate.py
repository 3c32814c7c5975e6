"""``trainer.evaluate``: the tasks that a run is scored on while it trains."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator

from custom_modules.config.sections import PathText, PositiveInt, Section


def _named_once(tasks: list[str]) -> list[str]:
    if not tasks:
        raise ValueError("a task is needed, as [hellaswag, piqa]; or set trainer.evaluate=null")
    for name in tasks:
        if not name.strip() or tasks.count(name) > 1:
            raise ValueError("each task once, by its name in lm-evaluation-harness, as [hellaswag, piqa]")
    return tasks


class EvaluateConfig(Section):
    """Each task is asked without examples, and its answers are compared by their log-likelihoods."""

    tasks: Annotated[list[str], AfterValidator(_named_once)]
    every_n_tokens: PositiveInt
    limit: PositiveInt | None = 500
    """Of each task the first so many documents; null: all of them."""
    data: PathText = "data/evaluation"
    """Where `danube evaluate --fetch` has laid the data sets down."""
