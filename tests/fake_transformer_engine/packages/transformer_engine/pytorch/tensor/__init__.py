"""Tensors kept in FP8, which nothing here makes."""


class QuantizedTensor:
    """Base of all."""
