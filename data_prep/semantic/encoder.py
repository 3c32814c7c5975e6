"""Vectors of texts by a sentence encoder from a local folder.

Reimers and Gurevych 2019, arXiv:1908.10084, section 3: a BERT-class encoder, and its token vectors pooled into one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from custom_modules.data_steps.options import SemanticOptions
from custom_modules.errors import UserError
from data_prep.semantic.encoder_folder import load_encoder_model, load_encoder_tokenizer, read_settings, readable_length
from data_prep.work.transformers_models import CHARACTERS_A_TOKEN, find_device, padded, quiet, share_cores

_TOKENIZED_AT_ONCE = 4_096
_LENGTH_STEP = 16
_LONGEST = 512
"""Tokens, where neither the folder nor the caller sets a limit."""


class SentenceEncoder:
    """A `data_prep.semantic.embeddings.TextEncoder`.

    A text is padded to the next multiple of 16 tokens, whatever its neighbours are, so that its vector does not
    depend on them: on the CPU bit for bit, else but for float32's rounding.

    Args:
        path: a folder of transformers' AutoModel and AutoTokenizer (mean pooling), or one of sentence-transformers,
            whose ``cls`` or ``mean`` pooling, ``max_seq_length`` and ``do_lower_case`` hold.
        max_length: tokens that are read of a text, special ones included; None: as many as the folder says, at most
            those that the model has positions for.
        prefix: put before every text.
        batch_size: texts at a time.
        device: as torch names it.

    Raises:
        UserError: a folder that is missing or of another kind, a device that is not there, or a ``max_length`` beyond
            the model's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_length: int | None = None,
        prefix: str = "",
        batch_size: int = 32,
        device: str = "cpu",
    ) -> None:
        folder = Path(path)
        settings = read_settings(folder)
        self._device = find_device(device)
        self._tokenizer = load_encoder_tokenizer(settings.transformer)
        self._model = load_encoder_model(settings.transformer).to(self._device)
        self._pooling = settings.pooling
        self._lower_case = settings.lower_case
        self._prefix = prefix
        self._batch_size = batch_size
        if len(self._tokenizer) > self._model.config.vocab_size:
            raise UserError(
                f"encoder={folder}: the tokenizer has {len(self._tokenizer)} tokens, the model "
                f"{self._model.config.vocab_size}; put the tokenizer there that the model was made with"
            )
        readable = readable_length(self._model, self._tokenizer)
        if max_length and readable and max_length > readable:
            raise UserError(f"max_length={max_length}: encoder={folder} reads {readable} tokens; use at most that many")
        self.max_length: int = max_length or min(settings.max_length or _LONGEST, readable or _LONGEST)
        self.dimension: int = self._model.config.hidden_size
        share_cores()

    @classmethod
    def of(cls, options: SemanticOptions) -> SentenceEncoder:
        """The one that a step's options describe.

        Raises:
            UserError: as the constructor.
        """
        return cls(
            options.encoder,
            max_length=options.max_length,
            prefix=options.prefix,
            batch_size=options.batch_size,
            device=options.device,
        )

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return pooled and L2-normalised vectors: [texts, dimension], float32, in the order of the texts."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for begin in range(0, len(texts), _TOKENIZED_AT_ONCE):
            ids = self._encode(texts[begin : begin + _TOKENIZED_AT_ONCE])
            lengths = np.array([self._padded_length(each) for each in ids])
            for length in np.unique(lengths):
                alike = np.flatnonzero(lengths == length)
                for batch in np.split(alike, range(self._batch_size, len(alike), self._batch_size)):
                    vectors[begin + batch] = self._embed_batch([ids[index] for index in batch], int(length))
        return vectors

    def _encode(self, texts: Sequence[str]) -> list[NDArray[np.int64]]:
        part = [self._prefix + text[: self.max_length * CHARACTERS_A_TOKEN] for text in texts]
        if self._lower_case:
            part = [text.lower() for text in part]
        with quiet():
            found = self._tokenizer(part, truncation=True, max_length=self.max_length)["input_ids"]
        return [np.array(ids, np.int64) for ids in found]

    def _padded_length(self, ids: NDArray[np.int64]) -> int:
        return min(self.max_length, max(1, -(-len(ids) // _LENGTH_STEP)) * _LENGTH_STEP)

    @torch.inference_mode()
    def _embed_batch(self, ids: Sequence[NDArray[np.int64]], length: int) -> NDArray[np.float32]:
        rows, mask = padded(ids, length, self._tokenizer.pad_token_id, self._device)
        hidden = self._model(input_ids=rows, attention_mask=mask).last_hidden_state
        pooled = hidden[:, 0] if self._pooling == "cls" else mean_pooled(hidden, mask)
        vectors: NDArray[np.float32] = normalize(pooled.float(), dim=-1).cpu().numpy()
        return vectors


def mean_pooled(hidden: Tensor, mask: Tensor) -> Tensor:
    """Return the mean of the tokens where the mask, [texts, length], is 1: [texts, d] of [texts, length, d]."""
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(dim=1) / weights.sum(dim=1)
