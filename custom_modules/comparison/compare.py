"""`danube sample --compare`: every model is asked every prompt, and a page has their answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from custom_modules.comparison.answers import ANSWERS, Answers, page_order
from custom_modules.comparison.models import Compared, find_compared
from custom_modules.comparison.page import PAGE, render_page
from custom_modules.comparison.prompts import Prompt, read_prompts
from custom_modules.files import whole_folder
from custom_modules.made import check_replaceable, note_files
from custom_modules.text import say


def compare(
    sources: Sequence[Path], prompts: Path, output: Path, max_new_tokens: int, seed: int, blind: bool, overwrite: bool
) -> Path:
    """Write a page with the answers of several models to the same prompts, each drawn with the same seed.

    One model at a time is in memory; a checkpoint is exported beside ``output`` while it answers.

    Args:
        sources: exports, checkpoints or runs, as `find_compared` takes them.
        prompts: a file of them.
        output: the folder to make, whole or not at all.
        blind: do not say on the page whose an answer is.
        overwrite: replace an earlier comparison.

    Returns:
        The page.

    Raises:
        UserError: a source or the prompts cannot be read, or ``output`` is there or cannot be written.
    """
    asked = read_prompts(prompts)
    models = find_compared(sources)
    if overwrite:
        check_replaceable(output, "an earlier comparison")
    with whole_folder(output, replace=overwrite) as aside:
        by_model = [_answers(model, asked, aside, max_new_tokens, seed) for model in models]
        by_prompt = [list(answers) for answers in zip(*by_model, strict=True)]
        order = page_order(len(models), by_prompt, blind)
        names = [model.name for model in models]
        answers = Answers(names, asked, by_prompt, order, seed, max_new_tokens, blind)
        (aside / ANSWERS).write_text(answers.as_json(), encoding="utf-8")
        (aside / PAGE).write_text(render_page(answers), encoding="utf-8")
        note_files(aside)
    return output / PAGE


def _answers(model: Compared, prompts: Sequence[Prompt], room: Path, max_new_tokens: int, seed: int) -> list[str]:
    say(f"asking {model.name}")
    with model.sampler(room) as sampler:
        return [sampler.continued(prompt.text, max_new_tokens, seed)[1] for prompt in prompts]
