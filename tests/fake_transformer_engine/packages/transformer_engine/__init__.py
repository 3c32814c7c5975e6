"""A fake of NVIDIA's Transformer Engine, for machines without CUDA. Never installed; tests put it on PYTHONPATH.

It has the part of the public interface of versions 2.9 to 2.11 that megatron-core 0.16.1 uses for a GPT, under the same
names, with the same signatures (``tests/gpu/test_fake_transformer_engine.py`` compares them where the real one is) and
in plain torch on the CPU. FP8 is imitated by rounding to torch's FP8 dtypes, per tensor whatever the recipe. Every
module notes the dtype of its input and the recipe that it ran under, in ``ran``.
"""

import sys

from transformer_engine import common, pytorch

__all__ = ["common", "pytorch"]
__version__ = "2.11.0" if sys.version_info < (3, 12) else "2.20.0"
"""One that fits the megatron-core of this Python."""
