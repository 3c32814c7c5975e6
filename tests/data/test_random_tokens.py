"""Random windows are windows: labels follow their tokens, and every read gives the same."""

from __future__ import annotations

import torch

from custom_modules.data.random_tokens import RandomTokens


def test_windows() -> None:
    windows = RandomTokens(seq_length=257, vocab_size=11)
    first, second = windows[3], windows[4]
    assert torch.equal(first["tokens"][1:], first["labels"][:-1])
    assert first["tokens"].shape == first["labels"].shape == (257,)
    assert set(first["tokens"].tolist()) == set(range(11))
    assert torch.equal(first["tokens"], RandomTokens(257, 11)[3]["tokens"])
    assert not torch.equal(first["tokens"], second["tokens"])
