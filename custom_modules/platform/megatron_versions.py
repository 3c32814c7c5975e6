"""What differs between the two versions of megatron-core that the program runs on; `pyproject.toml` names them.

The rest of the program calls these, and asks no version. It imports megatron-core: `custom_modules.platform.megatron`
comes first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import megatron.core
import torch
from megatron.core import parallel_state
from megatron.core.utils import get_batch_on_this_cp_rank
from torch import Tensor

_IS_0_16 = megatron.core.__version__.startswith("0.16.")
_COMMON = "common_state"


def _pickle_storages_under_torchs_name() -> None:
    """Have what 0.19 puts in the place of torch's reader of storages pickled as torch's: 0.16 has none of that name.

    Transformer Engine pickles its FP8 histories, and a pickle says by name how each tensor is to be read.
    """
    reader = torch.storage._load_from_bytes
    reader.__module__, reader.__name__, reader.__qualname__ = "torch.storage", "_load_from_bytes", "_load_from_bytes"


_pickle_storages_under_torchs_name()


def batch_on_this_cp_rank(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """``[b, s, ...]`` by name -> this rank's part of each sequence, where several ranks attend to it together."""
    group = parallel_state.get_context_parallel_group()
    if _IS_0_16:
        return get_batch_on_this_cp_rank(batch, cp_group=group)
    return get_batch_on_this_cp_rank(batch, is_hybrid_cp=False, cp_group=group)


def save_common_state(sharded_state_dict: dict[str, Any], file: Path) -> None:
    """Write what of a checkpoint is no tensor to the file that 0.16 reads it from, as 0.16 itself does.

    0.19 would put it among the shards, and reads either.

    Args:
        sharded_state_dict: what megatron-core gives a save strategy; the common state is taken out of it.
        file: the one that 0.16 knows.
    """
    common = sharded_state_dict.pop(_COMMON, None)
    if common is not None and torch.distributed.get_rank() == 0:
        torch.save(common.data, file)


def know_groups_by_rates(loaded: Any, groups: list[dict[str, Any]]) -> None:
    """Give loaded parameter groups this run's highest and lowest learning rate: 0.19 finds a group by them too.

    Args:
        loaded: the optimizer's part of a checkpoint; changed in place.
        groups: this run's, all with the same rates.
    """
    if not isinstance(loaded, dict):
        return
    for group in loaded.get("param_groups", ()):
        group.update({name: groups[0][name] for name in ("max_lr", "min_lr")})
    for inner in loaded.values():
        know_groups_by_rates(inner, groups)
