"""The class of megatron-core's that a model is, named here alone: 0.19 deprecates it (docs/engine.md).

Made of it is one thing more, `custom_modules.model.chunked_loss`, and `custom_modules.model.build` makes both.
"""

from __future__ import annotations

from megatron.core.models.gpt import GPTModel as LanguageModel

__all__ = ["LanguageModel"]
