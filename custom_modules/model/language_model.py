"""The class that a model is, made of megatron-core's, which is named here alone: 0.19 deprecates it (docs/engine.md).

Made of it is one thing more, `custom_modules.model.chunked_loss`, and `custom_modules.model.build` makes both.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from megatron.core.models.gpt import GPTModel
from megatron.core.tensor_parallel import gather_from_sequence_parallel_region
from torch import Tensor

from custom_modules.model.asked import Asked
from custom_modules.model.targets import Targets


class LanguageModel(GPTModel):
    """megatron-core's model, whose loss may be with more targets than the labels, or asked for at a few positions."""

    restarts_positions: bool = False
    """Rotary embeddings are of ``position_ids``, which megatron-core does not look at: it takes a token's place in its
    row."""

    def _preprocess(self, input_ids: Tensor, position_ids: Tensor, *arguments: Any, **named: Any) -> tuple[Any, ...]:
        """Return what megatron-core's does, with angles of ``position_ids``, ``[b, s]``, where these count."""
        decoder_input, angles, *rest = super()._preprocess(input_ids, position_ids, *arguments, **named)
        if self.restarts_positions and angles is not None:
            # Of the whole sequence: a context-parallel rank has such of its tokens, and its position ids.
            every = self.rotary_pos_emb(self.max_sequence_length, packed_seq=True)
            angles = every[:, 0, 0][position_ids.t()].unsqueeze(2)
        return decoder_input, angles, *rest

    def compute_language_model_loss(self, labels: Tensor | Targets, logits: Tensor) -> Tensor:
        """Return cross-entropies in fp32 nats: ``[b, s]`` of labels, ``[b, s, 1 + T]`` of `Targets`.

        Args:
            labels: ``[b, s]``.
            logits: ``[s, b, v]``, of this tensor-parallel rank's columns.
        """
        if isinstance(labels, Targets):
            return labels.cross_entropies(logits)
        losses: Tensor = super().compute_language_model_loss(labels, logits)
        return losses

    def _postprocess(
        self, hidden_states: Tensor, *arguments: Any, labels: Tensor | Targets | Asked | None = None, **named: Any
    ) -> Tensor:
        """Return log-probabilities, ``[n, k]``, where `Asked` takes the labels' place; else what megatron-core does."""
        if not self.post_process or not isinstance(labels, Asked):
            output: Tensor = super()._postprocess(hidden_states, *arguments, labels=labels, **named)
            return output
        return labels.log_probabilities(self._all_rows(hidden_states), self._logits)

    def _all_rows(self, hidden_states: Tensor) -> Tensor:
        """``[s, b, h]``, of all tensor-parallel ranks' rows where each has its own with sequence parallelism."""
        if self.output_layer.sequence_parallel:
            return gather_from_sequence_parallel_region(hidden_states, group=self.pg_collection.tp)
        return hidden_states

    def _logits(self, hidden_states: Tensor) -> Tensor:
        """``[s, b, v]``, of this tensor-parallel rank's columns and hidden states of all rows."""
        shared = self.shared_embedding_or_output_weight() if self.share_embeddings_and_output_weights else None
        with self._gathered():
            logits: Tensor = self.output_layer(hidden_states, weight=shared)[0]
        return logits

    @contextmanager
    def _gathered(self) -> Iterator[None]:
        """The output layer neither gathers rows nor reduces their gradient: with sequence parallelism both are done
        once, around all chunks."""
        layer = self.output_layer
        before = layer.sequence_parallel, layer.disable_grad_reduce
        if layer.sequence_parallel:
            layer.sequence_parallel, layer.disable_grad_reduce = False, True
        try:
            yield
        finally:
            layer.sequence_parallel, layer.disable_grad_reduce = before
