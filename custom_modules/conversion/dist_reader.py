"""Tensors of a distributed checkpoint, one at a time, with neither megatron-core nor a process group."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader, LoadPlan, Metadata
from torch.distributed.checkpoint.metadata import ChunkStorageMetadata, TensorStorageMetadata
from torch.distributed.checkpoint.planner_helpers import create_read_items_for_chunk_list

from custom_modules.config.schema import AnyModelConfig
from custom_modules.conversion.layout import OPTIMIZER, Block, blocks
from custom_modules.errors import UserError
from custom_modules.run_folder.checkpoint_files import COMMON


class DistReader:
    """A ``dist/`` folder, whatever layout of ranks wrote it: its tensors are whole here.

    Raises:
        UserError: it cannot be read.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reader = FileSystemReader(folder)
        try:
            self._metadata: Metadata = self._reader.read_metadata()
        except Exception as error:
            raise UserError(
                f"{folder}: not a distributed checkpoint ({_first_line(error)}); give another one"
            ) from None
        self._reader.set_up_storage_reader(self._metadata, is_coordinator=True)

    def check(self, model: AnyModelConfig) -> set[torch.dtype]:
        """Compare the stored weights and their shapes with what the config makes them.

        Returns:
            Their dtypes.

        Raises:
            UserError: one is missing, unknown, or has another shape.
        """
        expected = list(blocks(model))
        known = {block.key for block in expected}
        for key, stored in self._metadata.state_dict_metadata.items():
            if isinstance(stored, TensorStorageMetadata) and key not in known and not key.startswith("optimizer."):
                raise UserError(
                    f"{self.folder}: {key} has no place in the model of the checkpoint's config; one of them is of "
                    "another model"
                )
        return {self.check_block(block, model.num_layers) for block in expected}

    def check_block(self, block: Block, num_layers: int) -> torch.dtype:
        """Do the same as `check` for one block; return its dtype."""
        stored = self._stored(block.key)
        expected = block.shape if block.layer is None else (num_layers, *block.shape)
        rows = max(stored.size[0], expected[0]) if block.is_padded and stored.size else expected[0]
        if tuple(stored.size) != (rows, *expected[1:]):
            raise UserError(
                f"{self.folder}: {block.key} has shape {tuple(stored.size)}, but the checkpoint's config makes it "
                f"{expected}; one of them is of another model"
            )
        return stored.properties.dtype

    def read(self, block: Block) -> Tensor:
        """One block, without padding: ``block.shape``, in the stored dtype.

        Raises:
            UserError: its data is damaged or incomplete.
        """
        offsets, sizes = [0] * len(block.shape), list(block.shape)
        if block.layer is not None:
            offsets, sizes = [block.layer, *offsets], [1, *sizes]
        stored = self._stored(block.key)
        chunk = ChunkStorageMetadata(torch.Size(offsets), torch.Size(sizes))
        items = create_read_items_for_chunk_list(block.key, stored, [chunk])
        target = torch.empty(sizes, dtype=stored.properties.dtype)
        planner = _IntoOne(target)
        planner.set_up_planner({block.key: target}, self._metadata, is_coordinator=True)
        try:
            self._reader.read_data(LoadPlan(items), planner).wait()
        except Exception as error:
            raise UserError(f"{self.folder}: {block.key} cannot be read ({_first_line(error)})") from None
        if sum(item.lengths.numel() for item in items) != target.numel():
            raise UserError(f"{self.folder}: parts of {block.key} are missing")
        return target if block.layer is None else target[0]

    def optimizer_states(self, weight: str) -> list[str]:
        """What the optimizer keeps of a parameter, such as ``exp_avg``; empty where only weights are stored."""
        keys = [key.removesuffix(f".{weight}") for key in self._metadata.state_dict_metadata if weight in key]
        return [key.removeprefix(OPTIMIZER) for key in keys if key.startswith(OPTIMIZER)]

    def common(self) -> dict[str, Any]:
        """The content of `COMMON`.

        Raises:
            UserError: it cannot be read.
        """
        try:
            return torch.load(self.folder / COMMON, weights_only=True)
        except Exception as error:
            raise UserError(f"{self.folder / COMMON}: cannot be read ({_first_line(error)})") from None

    def _stored(self, key: str) -> TensorStorageMetadata:
        stored = self._metadata.state_dict_metadata.get(key)
        if not isinstance(stored, TensorStorageMetadata):
            raise UserError(f"{self.folder}: {key} is missing; the checkpoint is of another model")
        return stored


class _IntoOne(DefaultLoadPlanner):
    """Reads into one tensor, which stands for a piece of the stored one."""

    def __init__(self, target: Tensor) -> None:
        super().__init__(flatten_state_dict=False, flatten_sharded_tensors=False)
        self._target = target

    def lookup_tensor(self, index: Any) -> Tensor:
        return self._target


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
