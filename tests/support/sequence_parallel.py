"""One of two tensor-parallel processes, each with half of a micro-batch's rows before the head."""

from __future__ import annotations

import os

import torch

from custom_modules.config.load import load_config
from custom_modules.platform import Platform
from custom_modules.platform.megatron import import_megatron
from tests.support.tiny import TINY, VOCAB_SIZE


def compare_chunks(rank: int, port: int) -> None:
    """The loss and its gradients in chunks of 24 tokens are those of all 64 at once, and the head is as before."""
    import_megatron()
    from custom_modules.model.build import build_model

    place = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    layout = ["trainer.devices=2", "model.tensor_model_parallel_size=2", "model.cross_entropy_chunk_size=24"]
    config = load_config("danube_rehearsal", [*TINY, *layout])
    generator = torch.Generator().manual_seed(5)
    hidden = torch.randn(32, 2, 32, generator=generator).chunk(2)[rank].clone().requires_grad_()
    labels = torch.randint(0, VOCAB_SIZE, (2, 32), generator=generator)
    with Platform.detect(config).running(config):
        model = build_model(config)
        head = model.output_layer
        head.sequence_parallel, head.allreduce_dgrad = True, False
        found = []
        for size in (64, 24):
            model.chunk_size, hidden.grad, head.weight.grad = size, None, None
            rotary = dict.fromkeys(["rotary_pos_emb", "rotary_pos_cos", "rotary_pos_sin"])
            losses = model._postprocess(hidden, None, None, labels=labels, **rotary)
            losses.mean().backward()
            found.append((losses.detach(), hidden.grad, head.weight.grad))
        for whole, chunked in zip(*found, strict=True):
            torch.testing.assert_close(chunked, whole, rtol=1e-5, atol=1e-7)
        assert head.sequence_parallel and not head.disable_grad_reduce
