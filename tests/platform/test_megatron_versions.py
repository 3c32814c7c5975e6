"""What a checkpoint has must not name what one of the two versions of megatron-core alone has."""

from __future__ import annotations

import pickle

import torch

from custom_modules.platform.megatron import import_megatron


def test_a_pickled_tensor_is_read_without_megatron_core() -> None:
    """Transformer Engine's FP8 histories are pickled: 0.19 has a reader of its own in the place of torch's."""
    import_megatron("cpu")
    import custom_modules.platform.megatron_versions  # noqa: F401

    pickled = pickle.dumps(torch.arange(3))
    assert b"megatron" not in pickled
    assert pickle.loads(pickled).tolist() == [0, 1, 2]
