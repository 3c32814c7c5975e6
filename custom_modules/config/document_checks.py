"""Documents in a window that don't see each other: what that does not go together with, before anything is built."""

from __future__ import annotations

from custom_modules.config.marks import MustKeep, marked
from custom_modules.config.schema import Config, PreparedDataConfig
from custom_modules.errors import UserError

OF_PACKED_DOCUMENTS = tuple(f"data.{key}" for key in marked(PreparedDataConfig, MustKeep))
"""The keys that say what the documents of a window have to do with each other; samples of chat have a row each."""


def check_documents(config: Config) -> None:
    """Refuse a mask that the ranks of a sequence cannot share, and positions to reset that are not there.

    Raises:
        UserError: one line that names the key, its value, and what would work.
    """
    data, model = config.data, config.model
    if data.reset_attention_mask and model.context_parallel_size > 1:
        raise UserError(
            f"data.reset_attention_mask=true: with model.context_parallel_size={model.context_parallel_size} every "
            "document would have to divide by twice that many; set model.context_parallel_size=1, or "
            "data.reset_attention_mask=false"
        )
    if data.reset_position_ids and not data.reset_attention_mask and model.position_embedding_type != "rope":
        raise UserError(
            f"data.reset_position_ids=true: model.position_embedding_type={model.position_embedding_type} has no "
            "positions to reset; set data.reset_attention_mask=true, or data.reset_position_ids=false"
        )
