"""`danube sample --compare`: answers of several models side by side, to be marked by hand (LokiLM, section 3.1)."""

from custom_modules.comparison.compare import compare
from custom_modules.comparison.marks import tally

__all__ = ["compare", "tally"]
