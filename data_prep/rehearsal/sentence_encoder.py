"""``python -m data_prep.rehearsal.sentence_encoder FOLDER --on FILE --tokenizer TOKENIZER``: a small sentence encoder.

It learns as Contriever does (Izacard et al. 2022, arXiv:2112.09118, section 3.1): two pieces of one document should lie
nearer to each other than to pieces of others, by the loss of Oord et al. 2018, arXiv:1807.03748, over a batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
import transformers
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from custom_modules.errors import UserError
from custom_modules.files import explained
from custom_modules.made import note_files
from custom_modules.standard_streams import finished
from data_prep.quality.encoder_start import own_tokenizer
from data_prep.semantic.encoder import mean_pooled
from data_prep.work.progress import say
from data_prep.work.transformers_models import padded, quiet

LENGTH = 64
"""Tokens of a piece, and those that the encoder has positions for."""
_SHORTEST = 16
"""Tokens of a piece, at least."""
_HIDDEN, _LAYERS, _HEADS = 64, 2, 4
_BATCH = 64
_TEMPERATURE = 0.05
"""Of the loss, as Contriever's (its section 4.1)."""
_LR = 1e-3


def train(folder: Path, files: Sequence[Path], tokenizer_path: str, steps: int, seed: int) -> None:
    """Train an encoder and write it as transformers does.

    Raises:
        UserError: a file that is not there, fewer documents than a batch has, or a tokenizer that cannot be used.
    """
    tokenizer = own_tokenizer(tokenizer_path, "sentencepiece")
    documents = [ids for ids in _encoded(tokenizer, files) if len(ids) >= 2 * _SHORTEST]
    if len(documents) < _BATCH:
        raise UserError(
            f"--on {' '.join(map(str, files))}: {len(documents)} documents are long enough; give {_BATCH} or more"
        )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.BertModel(_config(tokenizer), add_pooling_layer=False).train()
        loss = _fit(model, documents, tokenizer.pad_token_id, steps, seed)
    say(f"sentence encoder: {steps} steps, loss {loss:.4f}")
    folder.mkdir(parents=True, exist_ok=True)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    note_files(folder)


def _config(tokenizer: Any) -> transformers.BertConfig:
    return transformers.BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=_HIDDEN,
        num_hidden_layers=_LAYERS,
        num_attention_heads=_HEADS,
        intermediate_size=4 * _HIDDEN,
        max_position_embeddings=LENGTH,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )


def _encoded(tokenizer: Any, files: Sequence[Path]) -> Iterator[list[int]]:
    """Yield the ids of each document, without those that an encoder's tokenizer puts around them."""
    for file in files:
        with explained(file):
            lines = file.read_bytes().splitlines()
        for line in lines:
            yield tokenizer(orjson.loads(line)["text"], add_special_tokens=False)["input_ids"]


def _fit(model: Any, documents: Sequence[Sequence[int]], pad_id: int, steps: int, seed: int) -> float:
    """Train, and return the last step's loss."""
    source = np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LR)
    loss = torch.zeros(())
    for _ in range(steps):
        chosen = source.choice(len(documents), _BATCH, replace=False)
        first, second = (_pooled(model, [_piece(documents[each], source) for each in chosen], pad_id) for _ in range(2))
        loss = cross_entropy(first @ second.T / _TEMPERATURE, torch.arange(_BATCH))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach())


def _piece(ids: Sequence[int], source: np.random.Generator) -> np.ndarray[Any, Any]:
    """Return a run of a document's tokens, of any place and length."""
    length = int(source.integers(_SHORTEST, min(LENGTH, len(ids)) + 1))
    begin = int(source.integers(0, len(ids) - length + 1))
    return np.array(ids[begin : begin + length], np.int64)


def _pooled(model: Any, pieces: Sequence[np.ndarray[Any, Any]], pad_id: int) -> Tensor:
    rows, mask = padded(pieces, LENGTH, pad_id, torch.device("cpu"))
    return normalize(mean_pooled(model(input_ids=rows, attention_mask=mask).last_hidden_state, mask), dim=-1)


def main(arguments: Sequence[str]) -> int:
    """Train; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.sentence_encoder", description=__doc__)
    parser.add_argument("folder", type=Path, help="to write")
    parser.add_argument("--on", nargs="+", type=Path, required=True, metavar="FILE", help="JSON lines with `text`")
    parser.add_argument("--tokenizer", required=True, help="a tokenizer.model or its folder")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1234)
    given = parser.parse_args(arguments)
    return finished(lambda: train(given.folder, given.on, given.tokenizer, given.steps, given.seed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
