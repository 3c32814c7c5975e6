"""A fake of NVIDIA's Transformer Engine, for machines without CUDA. Never installed; tests put it on PYTHONPATH.

It has the part of the public interface of versions 2.9 to 2.20 that megatron-core uses for a GPT, under the same names,
and takes no call that the real one does not (``tests/gpu/test_fake_transformer_engine.py`` compares them where the real
one is; what differs between the versions is in ``versions.py``), in plain torch on the CPU, over gloo's groups. FP8 is
imitated by rounding to torch's FP8 dtypes, with the scales that each recipe has. What goes wrong for a program with the
real one goes wrong with this: weights' FP8 copies are kept from a first micro-batch on, which overwrites ``main_grad``,
histories of largest values are part of a module's extra state, attention in fp32 keeps all scores, and Adam takes no
step that is a float: tests/model/test_fake_transformer_engine.py holds it against plain formulas. Every module notes
the dtype of its input and the recipe that it ran under, in ``ran``.
"""

import sys

if "torch" not in sys.modules:  # the newest find pip's NCCL where torch has loaded it
    raise OSError("libnccl.so.2: cannot open shared object file: No such file or directory")

from transformer_engine import common, pytorch, versions

__all__ = ["common", "pytorch"]
__version__ = versions.VERSION
