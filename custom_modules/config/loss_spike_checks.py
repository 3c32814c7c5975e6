"""Contradictions between ``exp_manager.loss_spike`` and the checkpoints that a run keeps."""

from __future__ import annotations

from custom_modules.config.batch import global_batch_tokens
from custom_modules.config.schema import Config
from custom_modules.errors import UserError

_KEY = "exp_manager.loss_spike"
_PARAMS = "exp_manager.checkpoint_callback_params"


def check_loss_spike(config: Config) -> None:
    """Refuse rollbacks that the checkpoints do not allow.

    Raises:
        UserError: a spike takes so many tokens to be found that more than one checkpoint is written meanwhile, or fewer
            are kept than a run may go back to.
    """
    options = config.exp_manager.loss_spike
    if options is None or options.on_spike != "rollback":
        return
    kept = config.exp_manager.checkpoint_callback_params
    batch = max(global_batch_tokens(config, name) for name in config.curriculum.stages)
    if options.patience * batch >= kept.every_n_train_tokens:
        most = (kept.every_n_train_tokens - 1) // batch
        or_less = f", or {_KEY}.patience to at most {most}" if most else ""
        raise UserError(
            f"{_KEY}.patience={options.patience}: {options.patience} steps of {batch} tokens are not below "
            f"{_PARAMS}.every_n_train_tokens={kept.every_n_train_tokens}, so a checkpoint to go back to may be of a "
            f"spike already; set that to more than {options.patience * batch}{or_less}"
        )
    needed = options.max_rollbacks - 1
    if kept.save_last_n < needed:
        raise UserError(
            f"{_KEY}.max_rollbacks={options.max_rollbacks}: the last goes back {needed} checkpoints, but "
            f"{_PARAMS}.save_last_n={kept.save_last_n} are kept; set that to {needed}, or {_KEY}.max_rollbacks to "
            f"{kept.save_last_n + 1}"
        )
