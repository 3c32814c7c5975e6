"""What does not depend on a framework."""

from transformer_engine.common import recipe

__all__ = ["recipe"]
