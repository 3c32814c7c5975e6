"""The learning rate as a plain formula of the token clock.

Training itself steps megatron-core's ``OptimizerParamScheduler`` with tokens; this formula serves the plan, which
must not import torch, and the tests, which hold the two against each other.
"""

from __future__ import annotations

import math

from custom_modules.config.model_parts import MegatronOptimConfig, OptimConfig


def learning_rate(optim: OptimConfig, tokens: int, total_tokens: int) -> float:
    """One linear warm-up and one cosine over the whole curriculum (Danube's paper, section 4).

    Args:
        optim: gives the peak, the minimum and the warm-up.
        tokens: the clock at the *end* of a step, so that no step is wasted on a rate of 0, the step that ends the
            warm-up has the peak, and the last step has exactly ``min_lr``.
        total_tokens: tokens of the whole curriculum.
    """
    return cosine(optim, optim.sched.warmup_tokens, tokens, total_tokens)


def cosine(optim: MegatronOptimConfig, warmup_tokens: int, tokens: int, total_tokens: int) -> float:
    """Do the same with a warm-up that was counted elsewhere."""
    min_lr = optim.sched.min_lr
    if warmup_tokens > 0 and tokens <= warmup_tokens:
        return optim.lr * tokens / warmup_tokens
    if tokens >= total_tokens:
        return min_lr
    done = (tokens - warmup_tokens) / (total_tokens - warmup_tokens)
    return min_lr + 0.5 * (math.cos(math.pi * done) + 1.0) * (optim.lr - min_lr)
