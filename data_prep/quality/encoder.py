"""A BERT-class encoder with a head of two labels.

H2O-Danube technical report, section 7; Devlin et al., arXiv:1810.04805, section 4.1 for fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import cross_entropy

from custom_modules.errors import DivergedError
from data_prep.quality.encoder_start import load_classifier, start
from data_prep.quality.metrics import class_weights
from data_prep.quality.options import EncoderOptions
from data_prep.work.progress import say
from data_prep.work.transformers_models import (
    CHARACTERS_A_TOKEN,
    find_device,
    padded,
    quiet,
    saved_tokenizer,
    share_cores,
)

_SCORED_AT_ONCE = 32
_TOKENIZED_AT_ONCE = 1_024
_CLIP_NORM = 1.0


class EncoderModel:
    """A `data_prep.quality.folder.QualityModel`. A text's score is the same in any batch, but for float32's rounding.

    Args:
        model, tokenizer: as transformers has them.
        max_length: tokens.
    """

    def __init__(self, model: Any, tokenizer: Any, max_length: int) -> None:
        self._model = model.eval()
        self._tokenizer = tokenizer
        self._max_length = max_length

    @classmethod
    def load(cls, folder: Path, scoring: Mapping[str, Any], device: str) -> EncoderModel:
        """Read what `train_encoder` wrote.

        Args:
            scoring: what it returned.

        Raises:
            UserError: transformers cannot read it, or there is no such device.
        """
        share_cores()
        model = load_classifier(folder, str(folder)).to(find_device(device))
        return cls(model, saved_tokenizer(folder, str(folder)), scoring["max_length"])

    def score(self, texts: Sequence[str]) -> NDArray[np.float32]:
        scores = np.empty(len(texts), np.float32)
        for begin in range(0, len(texts), _TOKENIZED_AT_ONCE):
            ids = encode(self._tokenizer, texts[begin : begin + _TOKENIZED_AT_ONCE], self._max_length)
            by_length = np.argsort([len(each) for each in ids], kind="stable")
            for batch in np.split(by_length, range(_SCORED_AT_ONCE, len(ids), _SCORED_AT_ONCE)):
                scores[begin + batch] = self._score_batch([ids[index] for index in batch])
        return scores

    @torch.inference_mode()
    def _score_batch(self, ids: Sequence[NDArray[np.int32]]) -> NDArray[np.float32]:
        logits = _logits(self._model, ids, self._tokenizer.pad_token_id)
        return logits.float().softmax(dim=-1)[:, 1].cpu().numpy()


def train_encoder(
    texts: Sequence[str], labels: NDArray[np.uint8], options: EncoderOptions, folder: Path
) -> dict[str, Any]:
    """Tune all weights with AdamW, both classes weighing the same, and write the model and its tokenizer.

    On a CPU, the same input on the same number of threads gives the same bytes.

    Args:
        labels: [texts], 0 or 1, both of them there.

    Returns:
        What `EncoderModel.load` needs beside the files.

    Raises:
        UserError: what it should begin with cannot be used.
        DivergedError: the loss is not finite.
    """
    device = find_device(options.device)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(options.seed)
        model, tokenizer = start(options)
        ids = encode(tokenizer, texts, options.max_length)
        _fit(model.to(device).train(), ids, labels, options, tokenizer.pad_token_id)
    with quiet():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return {"max_length": options.max_length}


def encode(tokenizer: Any, texts: Sequence[str], max_length: int) -> list[NDArray[np.int32]]:
    """The ids of the beginning of each text, special tokens included: [tokens], int32, at most ``max_length``."""
    encoded: list[NDArray[np.int32]] = []
    for begin in range(0, len(texts), _TOKENIZED_AT_ONCE):
        part = [text[: max_length * CHARACTERS_A_TOKEN] for text in texts[begin : begin + _TOKENIZED_AT_ONCE]]
        found = tokenizer(part, truncation=True, max_length=max_length, return_attention_mask=False)["input_ids"]
        encoded += [np.array(ids, np.int32) for ids in found]
    return encoded


def _fit(
    model: Any, ids: Sequence[NDArray[np.int32]], labels: NDArray[np.uint8], options: EncoderOptions, pad_id: int
) -> None:
    generator = np.random.default_rng(options.seed)
    weights = torch.from_numpy(class_weights(labels)).to(model.device)
    targets = torch.from_numpy(labels.astype(np.int64)).to(model.device)
    optimizer = torch.optim.AdamW(_groups(model, options.weight_decay), lr=options.lr)
    steps = options.epochs * -(-len(ids) // options.batch_size)
    warmup = max(1, int(options.warmup_fraction * steps))
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup + 1))
    )
    for epoch in range(options.epochs):
        losses: list[float] = []
        order = generator.permutation(len(ids))
        for batch in np.split(order, range(options.batch_size, len(order), options.batch_size)):
            logits = _logits(model, [ids[index] for index in batch], pad_id)
            loss = cross_entropy(logits, targets[torch.from_numpy(batch).to(model.device)], weights)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), _CLIP_NORM)
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            losses.append(float(loss.detach()))
            if not np.isfinite(losses[-1]):
                raise DivergedError(
                    f"lr={options.lr:g}: the loss is {losses[-1]} in epoch {epoch + 1}; use a smaller lr"
                )
        say(f"epoch {epoch + 1} of {options.epochs}: loss {np.mean(losses):.4f}")


def _logits(model: Any, ids: Sequence[NDArray[np.int32]], pad_id: int) -> Tensor:
    """Return the logits of both classes: [texts, 2], float32."""
    rows, mask = padded(ids, max(1, *map(len, ids)), pad_id, model.device)
    logits: Tensor = model(input_ids=rows, attention_mask=mask).logits
    return logits


def _groups(model: Any, weight_decay: float) -> list[dict[str, Any]]:
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [each for each in parameters if each.ndim > 1], "weight_decay": weight_decay},
        {"params": [each for each in parameters if each.ndim <= 1], "weight_decay": 0.0},
    ]
