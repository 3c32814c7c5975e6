"""``data.loader=dali``: NVIDIA DALI takes the windows to the device, through its own pinned and prefetched buffers."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from typing import TYPE_CHECKING

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.errors import UserError
from custom_modules.read_ahead import read_ahead

if TYPE_CHECKING:
    import torch

    from custom_modules.data.batches import Batch


def require_loader(config: Config) -> None:
    """Raises UserError if ``data.loader`` needs DALI and it cannot be imported. Imports no torch."""
    if config.data.loader != "dali":
        return
    try:
        import nvidia.dali  # noqa: F401
    except (ImportError, OSError) as error:
        raise UserError(
            f"data.loader=dali: NVIDIA DALI cannot be imported ({error}); install the `dali` extra "
            "(pip install nvidia-dali-cuda130), or set data.loader=native"
        ) from None


def dali_batches(
    read: Callable[[int], Batch],
    firsts: range,
    stage: Stage,
    ahead: int,
    device: torch.device,
    fields: tuple[str, ...] = ("tokens", "labels"),
) -> Generator[Batch, None, None]:
    """What ``read`` gives for each of ``firsts``, in order, on the device.

    DALI would call its source in the thread that asks for a batch: the windows are read in another before it does.

    Args:
        ahead: micro-batches between reading and DALI, and again in DALI.
        fields: of a micro-batch, the position ids apart: int64, but for a float32 ``loss_mask``.
    """
    import torch
    from nvidia.dali import Pipeline, fn, types

    on_gpu = device.type == "cuda"
    micro = stage.micro_batch_size
    with closing(read_ahead(read, firsts, ahead)) as windows:
        source = (tuple(window[name].numpy() for name in fields) for window in windows)
        dtypes = [types.FLOAT if name == "loss_mask" else types.INT64 for name in fields]
        pipeline = Pipeline(micro, 1, device.index if on_gpu else None, prefetch_queue_depth=ahead)
        with pipeline:
            fed = fn.external_source(source, num_outputs=len(fields), batch=True, dtype=dtypes, ndim=1)
            pipeline.set_outputs(*(node.gpu() if on_gpu else node for node in fed))
        position_ids = torch.arange(stage.seq_length, device=device).expand(micro, -1)
        for _ in firsts:
            # Bound to the stream that trains, so that a buffer is used again after what reads it.
            outputs = pipeline.run(torch.cuda.current_stream(device) if on_gpu else None)
            # Copied: they are DALI's to write to again when it runs next, and a pipeline's chunks may hold on to them.
            tensors = (torch.from_dlpack(output.as_tensor()).clone() for output in outputs)
            yield {**dict(zip(fields, tensors, strict=True)), "position_ids": position_ids}
