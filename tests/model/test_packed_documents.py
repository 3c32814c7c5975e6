"""A document among others in a window has the logits and gradients that it has alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.data.documents import Documents
from custom_modules.model.build import build_model
from custom_modules.model.language_model import LanguageModel
from custom_modules.model.packed_documents import in_one_row, packed_documents
from tests.model.test_gpt_model import SMALL, mistral

END, LENGTH = 0, 160
LOKI = ["model.architecture=lokilm", "model.sliding_window=null", "model.num_query_groups=8"]
MODELS = {
    "window": ["model.sliding_window=24"],
    "window beyond the documents": ["model.sliding_window=150"],
    "no window": ["model.sliding_window=null"],
    "alibi": LOKI,
    "grouped alibi": [*LOKI[:2], "model.num_query_groups=2"],
}
ENDS = (
    (),
    tuple(range(LENGTH)),
    (0, 40, 41, 42, 81, 158),
    (LENGTH - 1,),
)
"""By row: one document as long as the window, ends alone, such as there are in data, and one whose end is the last."""


def windows(vocab_size: int) -> dict[str, Tensor]:
    tokens = torch.randint(END + 1, vocab_size, (len(ENDS), LENGTH), generator=torch.Generator().manual_seed(5))
    for row, ends in zip(tokens, ENDS, strict=True):
        row[list(ends)] = END
    batch = {"tokens": tokens, "position_ids": torch.arange(LENGTH).expand(len(ENDS), -1)}
    return Documents(END, separate=True, restart=False, forget=False).add_to(batch)


def build(overrides: list[str]) -> tuple[Config, LanguageModel]:
    config = load_config("danube_rehearsal", [*SMALL, "data.reset_attention_mask=true", *overrides])
    return config, build_model(config)


def packed_logits(model: LanguageModel, batch: dict[str, Tensor]) -> Tensor:
    """``[b s, v]``."""
    rows = (in_one_row(batch[name]) for name in ("tokens", "position_ids"))
    found: Tensor = model(*rows, None, packed_seq_params=packed_documents(batch, fused=False))
    return found[0]


def logits_alone(model: LanguageModel, batch: dict[str, Tensor]) -> Tensor:
    tokens, boundaries = batch["tokens"].flatten(), batch["cu_seqlens"].tolist()
    alone = [tokens[None, start:end] for start, end in pairwise(boundaries)]
    return torch.cat([model(one, torch.arange(one.shape[1])[None], None)[0] for one in alone])


@pytest.mark.parametrize("kind", MODELS)
def test_logits_and_gradients_of_a_document_alone(single_process: None, kind: str) -> None:
    config, model = build(MODELS[kind])
    batch = windows(config.model.vocab_size)
    found, expected = packed_logits(model, batch), logits_alone(model, batch)
    assert expected[:, : config.model.vocab_size].abs().max() > 1
    assert (found - expected)[:, : config.model.vocab_size].abs().max() <= 1e-5
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(6))
    for one, other in zip(
        *(torch.autograd.grad(each, model.parameters(), upstream) for each in (found, expected)), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4 * other.abs().max().item())


def test_documents_that_see_each_other_have_others(single_process: None) -> None:
    config, model = build([])
    batch = windows(config.model.vocab_size)
    whole = model(batch["tokens"], batch["position_ids"], None).flatten(0, 1)
    apart = (whole - packed_logits(model, batch))[:, : config.model.vocab_size].abs().amax(dim=-1).view(len(ENDS), -1)
    assert apart[0].max() <= 1e-5, "a window of one document"
    assert apart[2, 0] <= 1e-5 and apart[2, 1:].max() > 0.1


@torch.no_grad()
def test_positions_begin_anew_where_documents_see_each_other(single_process: None) -> None:
    """RoPE's alone, as transformers has it of the same positions."""
    config, ours = build(["data.reset_position_ids=true", "data.reset_attention_mask=false"])
    theirs = mistral(config, ours.state_dict())
    tokens, usual = windows(300)["tokens"], torch.arange(LENGTH).expand(len(ENDS), -1)
    positions = Documents(END, separate=False, restart=True, forget=False).add_to({"tokens": tokens})["position_ids"]
    found = ours.eval()(tokens, positions, None)[..., :300]
    # Without a mask transformers would take it for documents that do not see each other.
    expected = theirs(tokens, attention_mask=torch.ones_like(tokens), position_ids=positions).logits
    assert (found - expected).abs().max() <= 1e-5
    assert (found - ours(tokens, usual, None)[..., :300]).abs().max() > 0.1
