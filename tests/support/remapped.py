"""What a run with another tokenizer is judged by: its weights, its id map, and how well it predicts a text."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch

from custom_modules.model.build import build_model
from custom_modules.platform import Platform
from custom_modules.run_folder import checkpoint_files
from custom_modules.tokenizer import load_tokenizer
from custom_modules.training.checkpoint import load_weights
from tests.support.runs import tensors

TABLES = ("embedding.word_embeddings.weight", "output_layer.weight")
LENGTH = 64


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    """Return the weights of a run's newest checkpoint, by megatron-core's names."""
    stored = tensors(checkpoint_files.resolve(run_dir).path)
    return {name: tensor for name, tensor in stored.items() if not name.startswith("optimizer.")}


def token_map(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "checkpoints" / "token_map.json").read_text())


@torch.no_grad()
def bits_per_byte(run_dir: Path, text: str, with_random_rows: bool = False) -> float:
    """The text's loss in windows of 64 tokens, in a unit that does not depend on the tokenizer.

    Args:
        with_random_rows: the embedding and the head drawn again, all of them.
    """
    checkpoint = checkpoint_files.resolve(run_dir)
    config = checkpoint.config()
    tokenizer = load_tokenizer(config.model.tokenizer.library, checkpoint.tokenizer)
    ids = torch.tensor(tokenizer.encode(text))
    windows = torch.nn.functional.pad(ids, (0, -len(ids) % LENGTH), value=tokenizer.eos_id).view(-1, LENGTH)
    inputs = torch.nn.functional.pad(windows[:, :-1], (1, 0), value=tokenizer.eos_id)
    with Platform.detect(config).running(config):
        model = build_model(config, initial_weights=False).eval()
        load_weights([model], checkpoint)
        if with_random_rows:
            for table in (model.embedding.word_embeddings.weight, model.output_layer.weight):
                torch.nn.init.normal_(table, std=config.model.init_method_std)
        losses = model(inputs, torch.arange(LENGTH).expand_as(inputs), None, labels=windows)
    nats = losses.flatten()[: len(ids)].sum().item()
    return nats / math.log(2) / len(text.encode())
