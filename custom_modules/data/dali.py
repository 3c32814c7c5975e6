"""``data.loader=dali``: NVIDIA DALI takes the windows to the device, through its own pinned and prefetched buffers."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from custom_modules.config.schema import Config
from custom_modules.config.stages import Stage
from custom_modules.errors import UserError
from custom_modules.read_ahead import read_ahead

if TYPE_CHECKING:
    import torch
    from numpy.typing import NDArray

    from custom_modules.data.batches import Batch
    from custom_modules.data.documents import Documents

_DTYPES = {
    "loss_mask": "FLOAT",
    "alternative_mask": "FLOAT",
    "teacher_ids": "INT32",
    "teacher_probabilities": "FLOAT",
}
"""Of the fields that are not int64."""

_DIMENSIONS = {
    "teacher_ids": 3,
    "teacher_probabilities": 3,
    "alternative_tokens": 2,
    "alternative_labels": 2,
    "alternative_mask": 2,
}
"""Of the fields of a sample that are not ``[seq_length]``."""


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
    fields_of: Callable[[int], tuple[str, ...]],
    documents: Documents | None = None,
) -> Generator[Batch, None, None]:
    """What ``read`` gives for each of ``firsts``, in order, on the device.

    DALI would call its source in the thread that asks for a batch: the windows are read in another before it does. A
    pipeline has the same outputs always: where micro-batches are of several kinds, each kind has one of its own.

    Args:
        ahead: micro-batches between reading and DALI, and again in DALI.
        fields_of: names the fields of the micro-batch that begins with a sample, the position ids apart.
        documents: has given the micro-batches what follows from their documents, beside these fields.
    """
    with ExitStack() as stack:
        kinds: dict[tuple[str, ...], Generator[Batch, None, None]] = {}
        for first in firsts:
            fields = fields_of(first)
            if fields not in kinds:
                own = (one for one in firsts[firsts.index(first) :] if fields_of(one) == fields)
                batches = _batches_of_one_kind(read, own, stage, ahead, device, fields, documents)
                kinds[fields] = stack.enter_context(closing(batches))
            yield next(kinds[fields])


def _batches_of_one_kind(
    read: Callable[[int], Batch],
    firsts: Iterable[int],
    stage: Stage,
    ahead: int,
    device: torch.device,
    fields: tuple[str, ...],
    documents: Documents | None,
) -> Generator[Batch, None, None]:
    import torch
    from nvidia.dali import Pipeline, fn, types

    from custom_modules.data.documents import CU_SEQLENS

    on_gpu = device.type == "cuda"
    micro = stage.micro_batch_size
    if documents:
        fields = documents.fields(fields)
        fields = (*fields, "position_ids") if documents.restart else fields
    beside: deque[Batch] = deque()
    with closing(read_ahead(read, firsts, ahead)) as windows:

        def given() -> Generator[tuple[NDArray[Any], ...], None, None]:
            for window in windows:
                # Of no fixed length, and for the host: not for DALI, which gives back in order what it is given.
                beside.append({CU_SEQLENS: window[CU_SEQLENS]} if CU_SEQLENS in window else {})
                yield tuple(window[name].numpy() for name in fields)

        dtypes = [getattr(types, _DTYPES.get(name, "INT64")) for name in fields]
        dimensions = [_DIMENSIONS.get(name, 1) for name in fields]
        pipeline = Pipeline(micro, 1, device.index if on_gpu else None, prefetch_queue_depth=ahead)
        with pipeline:
            fed = fn.external_source(given(), num_outputs=len(fields), batch=True, dtype=dtypes, ndim=dimensions)
            pipeline.set_outputs(*(node.gpu() if on_gpu else node for node in fed))
        position_ids = torch.arange(stage.seq_length, device=device).expand(micro, -1)
        while True:
            # Bound to the stream that trains, so that a buffer is used again after what reads it.
            outputs = pipeline.run(torch.cuda.current_stream(device) if on_gpu else None)
            # Copied: they are DALI's to write to again when it runs next, and a pipeline's chunks may hold on to them.
            tensors = (torch.from_dlpack(output.as_tensor()).clone() for output in outputs)
            yield {"position_ids": position_ids, **dict(zip(fields, tensors, strict=True)), **beside.popleft()}
