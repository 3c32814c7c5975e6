"""The step from ``GPTModel`` to ``HybridModel``, as far as megatron-core lets it."""

from __future__ import annotations

import pytest
import torch

from custom_modules.run_folder.checkpoint_files import open_checkpoint
from custom_modules.training.te_state import take_out_absent
from tests.support.trained import Trained


@torch.no_grad()
def test_the_same_logits_of_the_same_checkpoint(trained: Trained, single_process: None) -> None:
    """Bit for bit, below and beyond the window."""
    pytest.importorskip("megatron.core.models.hybrid.hybrid_model", reason="this megatron-core has no HybridModel")
    from megatron.core import dist_checkpointing

    from tests.conversion.hybrid import build_hybrid_model, stored_as_gpt_model

    model = build_hybrid_model(trained.config).eval()
    state = stored_as_gpt_model(model.sharded_state_dict(), trained.config.model.num_layers)
    dist = open_checkpoint(trained.checkpoint).dist
    absent = take_out_absent(state, dist)
    loaded = dist_checkpointing.load({"model": state}, str(dist))["model"]
    model.load_state_dict({**loaded, **absent})
    for length, tokens in trained.samples.items():
        logits = model(tokens, torch.arange(length)[None], None)[..., : trained.config.model.vocab_size]
        assert torch.equal(logits.float(), trained.logits[length]), length
