"""A distributed checkpoint that megatron-core reads, written tensor by tensor without a process group."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.default_planner import DefaultSavePlanner
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, MetadataIndex, TensorProperties
from torch.distributed.checkpoint.planner import SavePlan, TensorWriteData, WriteItem, WriteItemType
from torch.utils.serialization import config as serialization

from custom_modules.architecture.weights import LAYERS, layer_linears
from custom_modules.config.schema import AnyModelConfig
from custom_modules.conversion.layout import Block, blocks, optimizer_blocks
from custom_modules.run_folder.checkpoint_files import COMMON
from custom_modules.run_folder.hashed_files import HashedFiles

FORMAT = {
    "sharded_backend": "torch_dist",
    "sharded_backend_version": 1,
    "common_backend": "torch",
    "common_backend_version": 1,
}
"""megatron-core's ``metadata.json``."""


def write_dist(
    folder: Path,
    model: AnyModelConfig,
    dtype: torch.dtype,
    tensors: Iterator[Tensor],
    optimizer_states: Sequence[str] = (),
    common: Mapping[str, Any] | None = None,
) -> dict[Path, str]:
    """Write every block of a model, in the layout of one rank.

    Args:
        folder: an existing, empty folder.
        dtype: of the weights.
        tensors: of ``block.shape`` for each of `blocks`, then of `optimizer_blocks`, in order; one is taken when it is
            written. Rows beyond it, which pad the vocabulary, are 0 as at the start of training.
        optimizer_states: see `optimizer_blocks`; in fp32.
        common: of `COMMON`.

    Returns:
        The SHA-256 of the files that torch wrote.
    """
    writer = dcp.FileSystemWriter(folder, thread_count=1, sync_files=True)
    writer.fs = files = HashedFiles()
    planner = _BlockPlanner(model, dtype, tensors, optimizer_states)
    with serialization.patch("save.compute_crc32", False):  # type: ignore[attr-defined]  # the files have a SHA-256
        dcp.save({}, storage_writer=writer, planner=planner, no_dist=True)
    torch.save(dict(common or {}), folder / COMMON)
    (folder / "metadata.json").write_text(json.dumps(FORMAT))
    return files.sha256


class _BlockPlanner(DefaultSavePlanner):
    def __init__(
        self, model: AnyModelConfig, dtype: torch.dtype, tensors: Iterator[Tensor], optimizer_states: Sequence[str]
    ) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._model, self._dtype, self._tensors, self._states = model, dtype, tensors, optimizer_states
        self._blocks: dict[tuple[str, torch.Size], Block] = {}

    def create_local_plan(self) -> SavePlan:
        items = [self._item(block, self._dtype) for block in blocks(self._model)]
        items += [self._item(block, torch.float32) for block in optimizer_blocks(self._model, self._states)]
        # megatron-core asks every linear of a layer for one, which only Transformer Engine fills.
        items += [
            WriteItem(
                MetadataIndex(f"{LAYERS}{name}._extra_state/shard_{layer}_{self._model.num_layers}"),
                WriteItemType.BYTE_IO,
            )
            for name in layer_linears(self._model.weights)
            for layer in range(self._model.num_layers)
        ]
        self.plan = SavePlan(items)
        return self.plan

    def resolve_data(self, write_item: WriteItem) -> Tensor | io.BytesIO:
        if write_item.type == WriteItemType.BYTE_IO:
            empty = io.BytesIO()
            torch.save([None], empty)
            return empty
        assert write_item.index.offset is not None and write_item.tensor_data is not None
        block = self._blocks[write_item.index.fqn, write_item.index.offset]
        tensor = next(self._tensors)
        assert tensor.shape == block.shape
        padding = self._model.padded_vocab_size - tensor.shape[0] if block.is_padded else 0
        if padding:
            tensor = torch.cat([tensor, tensor.new_zeros(padding, *tensor.shape[1:])])
        return tensor.view(write_item.tensor_data.chunk.sizes).contiguous()

    def _item(self, block: Block, dtype: torch.dtype) -> WriteItem:
        rows = self._model.padded_vocab_size if block.is_padded else block.shape[0]
        shape = (rows, *block.shape[1:])
        if block.layer is None:
            size = sizes = torch.Size(shape)
            offsets = torch.Size([0] * len(shape))
        else:
            size, sizes = torch.Size((self._model.num_layers, *shape)), torch.Size((1, *shape))
            offsets = torch.Size((block.layer, *[0] * len(shape)))
        self._blocks[block.key, offsets] = block
        return WriteItem(
            MetadataIndex(block.key, offsets),
            WriteItemType.SHARD,
            tensor_data=TensorWriteData(ChunkStorageMetadata(offsets, sizes), TensorProperties(dtype=dtype), size),
        )
