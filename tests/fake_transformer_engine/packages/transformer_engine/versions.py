"""Which version of Transformer Engine the fake is, and all that differs between those it stands for, 2.9 to 2.20.

| from | what | the fake | what relies on it |
| --- | --- | --- | --- |
| 2.10 | one amid ``get_cpu_offload_context``'s, ``manual_synchronization`` | by name from there | megatron-core |
| 2.12 | one amid ``DotProductAttention``'s and its ``forward``: ``bottom_right_diagonal`` | the same | megatron-core |
| 2.16 | no FP8 copy is kept of a weight that FSDP2 has gathered | keeps it | custom_modules/plan/fp8_copies.py |
| 2.18 | `HAS_STATE_WITHOUT_HISTORY` | by version | custom_modules/training/te_state.py |
| 2.18 | pickled histories are refused, but under ``NVTE_ALLOW_UNSAFE_PICKLE_EXTRA_STATE=1`` | always | the same |
| 2.19 | ``DotProductAttention.forward`` may be called without its tensors | may not | nothing |
| 2.20 | ``softcap`` behind ``bottom_right_diagonal`` | as that | megatron-core |
| 2.20 | it can't be imported before torch | never can | custom_modules/doctor |

Whatever runs with the fake so gives arguments by place only where every version has them in that place.
"""

import os
import sys

VERSION = os.environ.get("FAKE_TRANSFORMER_ENGINE") or ("2.11.0" if sys.version_info < (3, 12) else "2.20.0")
"""One that fits the megatron-core of this Python; a test may ask for another."""


def _is_before(*version: int) -> bool:
    return tuple(map(int, VERSION.split(".")[:2])) < version


HAS_STATE_WITHOUT_HISTORY = _is_before(2, 18)
"""A checkpoint has the recipe of modules whose recipe keeps no history; else nothing of them."""
