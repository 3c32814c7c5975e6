"""What a suite costs, said before it runs: tokens, and the time that their FLOPs take."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.errors import UserError
from custom_modules.plan.duration import DEFAULT_GPU, DEFAULT_MFU
from custom_modules.plan.flops import find_gpu, known_gpus
from custom_modules.plan.parameters import count_parameters
from custom_modules.scoring.encoding import PlainEncoder
from custom_modules.scoring.scorer import Prepared
from custom_modules.scoring.shapes import GPU
from custom_modules.tasks.library import load_tasks
from custom_modules.tasks.suite import Suite, load_suite
from custom_modules.text import human_duration
from custom_modules.tokenizer import load_tokenizer


@dataclass(frozen=True)
class Cost:
    """Tokens of a suite."""

    scored: int
    """Read for log-likelihoods, a context once for continuations that differ in their last token alone."""
    read: int
    """Of contexts that texts are generated behind."""
    generated: int
    """At most, of new tokens."""
    is_counted: bool = True
    """Whether they were counted with the model's own tokenizer and data; else with a vocabulary of 32,000."""


KNOWN = {
    "danube-table1": Cost(8_400_000, 0, 140_000, False),
    "open-llm-leaderboard": Cost(61_000_000, 0, 200_000, False),
    "lokilm-table1": Cost(40_000_000, 0, 200_000, False),
}
"""Counted on the real texts of whole sets with a 32,000-token vocabulary; generated: as many as are needed."""


def forward_flops(parameters: int, tokens: int) -> int:
    """Return the FLOPs of a forward pass over so many tokens, without attention's scores: 2 a parameter and token."""
    return 2 * parameters * tokens


def seconds_by_flops(flops: int, devices: int, gpu: str | None = None, mfu: float | None = None) -> float | None:
    """Return how long so many FLOPs take on GPUs; None of a kind that is not known."""
    found = find_gpu(gpu or DEFAULT_GPU)
    return flops / (found.peak_flops * (mfu or DEFAULT_MFU) * devices) if found else None


def plan_suite(
    config: TrainingConfig, suite: str, data: Path | None, limit: int | None, gpu: str | None, mfu: float | None
) -> Iterator[str]:
    """Say what a suite takes of a recipe's model, without one that is trained.

    Args:
        data: where tokens are counted, with the recipe's tokenizer; None for what is known of the suites of ours.
        limit: items of each task, where they are counted.
        gpu: the chip; None for an H100.
        mfu: the share of its peak; None for the usual one.

    Raises:
        UserError: there is no such suite, chip, data or tokenizer, or its tokens are not known without data.
    """
    loaded = load_suite(suite)
    chip = find_gpu(gpu or DEFAULT_GPU)
    if chip is None:
        raise UserError(f"--gpu {gpu}: not known; give one of {', '.join(known_gpus())}")
    if data is not None:
        cost = _counted(config, loaded, data, limit)
    elif loaded.name in KNOWN:
        cost = KNOWN[loaded.name]
    else:
        raise UserError(f"--suite {suite}: its tokens are counted on the data; give --data DIR")
    flops = forward_flops(count_parameters(config.model).matmul, cost.scored + cost.read)
    yield from cost_lines(loaded.name, cost, flops, config.trainer.world_size, chip.name, mfu or DEFAULT_MFU)


def _counted(config: TrainingConfig, suite: Suite, data: Path, limit: int | None) -> Cost:
    model = config.model.tokenizer.model
    if model is None:
        raise UserError("model.tokenizer.model: not set, and --data counts with it; give it, or leave --data out")
    tokenizer = load_tokenizer(config.model.tokenizer.library, Path(model))
    items = [item for task in load_tasks(suite, data, limit) for item in task.items]
    length = Curriculum.from_config(config).max_seq_length
    return cost_of(Prepared(items, PlainEncoder(tokenizer), length, GPU))


def cost_of(prepared: Prepared) -> Cost:
    """Count the tokens of prepared items."""
    prompts = prepared.prompts.prompts
    read, new = sum(len(prompt.tokens) for prompt in prompts), sum(prompt.max_new_tokens for prompt in prompts)
    return Cost(prepared.rows.tokens, read, new)


def cost_lines(suite: str, cost: Cost, flops: int, devices: int, gpu: str, mfu: float) -> Iterator[str]:
    """Say a suite's tokens and time, and what of it is measured.

    Args:
        flops: of the tokens that are scored and read.
    """
    counted = "counted" if cost.is_counted else "counted with a vocabulary of 32,000 on whole sets"
    read = f", {cost.read:,} read before texts" if cost.read else ""
    most = "at most " if cost.is_counted else "about "
    generated = f", {most}{cost.generated:,} generated" if cost.generated else ""
    yield f"{suite}: {cost.scored:,} tokens scored{read}{generated} ({counted})"
    seconds = seconds_by_flops(flops, devices, gpu, mfu)
    if seconds is not None:
        text = "; texts are generated token by token, which takes longer than its FLOPs" if cost.generated else ""
        yield (
            f"by FLOPs {human_duration(seconds)} on {devices} x {gpu} at an assumed {mfu:.0%} of its peak: not "
            f"measured{text}"
        )
