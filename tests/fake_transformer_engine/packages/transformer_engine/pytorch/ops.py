"""Operations that can be fused: megatron-core names them in signatures, and nothing here uses them."""


class FusibleOperation:
    """Base of all."""


class Sequential:
    """Several, one after the other."""
