"""How many checkpoints a run leaves."""

from __future__ import annotations

from custom_modules.config.schema import CheckpointConfig


def checkpoints_kept(params: CheckpointConfig, ends: int, total_tokens: int) -> int:
    """Return the most that are there when a run is done: the last ones, those that stay as ends, the best, and those to
    go back to.

    Args:
        ends: stages of the run, or epochs.
        total_tokens: of the whole run.
    """
    apart = max(params.keep_every_n_tokens or total_tokens + 1, params.every_n_train_tokens)
    return params.save_last_n + (params.save_top_k or 0) + ends + total_tokens // apart
