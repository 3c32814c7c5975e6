"""From a Hugging Face folder to a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from custom_modules.config.schema import Config, ModelConfig
from custom_modules.conversion.dist_writer import write_dist
from custom_modules.conversion.first_checkpoint import write_first_checkpoint
from custom_modules.conversion.hf_config import check_config
from custom_modules.conversion.hf_export import INDEX
from custom_modules.conversion.hf_tokenizer import read_tokenizer
from custom_modules.conversion.layout import Block, blocks
from custom_modules.errors import UserError
from custom_modules.files import published_folder
from custom_modules.training import checkpoint_files


def from_hf(hf_dir: Path, output: Path, config: Config) -> Path:
    """Write the checkpoint of a run that has read nothing yet, with a `MistralForCausalLM`'s weights and no optimizer.

    Weights keep their dtype, are read tensor by tensor, and padded vocabulary rows are 0.

    Args:
        hf_dir: config.json, weights as safetensors, and a tokenizer of ``model.tokenizer.library``.
        output: the run's folder, without checkpoints.
        config: what the model must be, and the run's config from then on.

    Returns:
        The checkpoint's folder, published whole.

    Raises:
        UserError: the folder is incomplete, or a field, tensor or tokenizer does not fit the config.
    """
    check_config(hf_dir, config)
    weights = Weights(hf_dir)
    dtype = weights.check(config.model)
    tokenizer = read_tokenizer(hf_dir, config.model.tokenizer.library)
    if tokenizer.vocab_size > config.model.vocab_size:
        raise UserError(
            f"{tokenizer.path}: {tokenizer.vocab_size} tokens, but model.vocab_size={config.model.vocab_size}; "
            "give the model's own tokenizer"
        )
    if existing := checkpoint_files.list_folders(output):
        raise UserError(f"{output}: already has a checkpoint, {existing[-1].name}; give another folder")
    target = checkpoint_files.checkpoints_dir(output) / checkpoint_files.folder_name(0)
    with published_folder(target) as aside:
        write_first_checkpoint(
            aside,
            config,
            tokenizer,
            lambda dist: write_dist(dist, config.model, dtype, weights.read),
            weights_only=True,
        )
    return target


DTYPES = {"BF16": torch.bfloat16, "F32": torch.float32, "F16": torch.float16}
"""By their names in safetensors."""


class Weights:
    """The safetensors of a Hugging Face folder, one file or several.

    Raises:
        UserError: they are missing or damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        single = folder / "model.safetensors"
        try:
            if single.is_file():
                with safe_open(single, framework="pt") as file:
                    self._files = dict.fromkeys(file.keys(), single.name)
            else:
                self._files = json.loads((folder / INDEX).read_text())["weight_map"]
        except (OSError, ValueError, LookupError, SafetensorError) as error:
            raise UserError(
                f"{folder}: no readable model.safetensors or {INDEX} ({error}); give a whole Hugging Face folder"
            ) from None

    def check(self, model: ModelConfig) -> torch.dtype:
        """Compare names, shapes and dtypes with what a config makes them.

        Returns:
            The one dtype.

        Raises:
            UserError: a tensor is missing, unknown, or of another shape or dtype.
        """
        expected = {name: shape for block in blocks(model) for name, shape in block.parts.items()}
        for name in [*(expected.keys() - self._files.keys()), *(self._files.keys() - expected.keys())]:
            kind = "is missing" if name in expected else "has no place in the config's model"
            raise UserError(f"{self.folder}: tensor {name} {kind}; give a MistralForCausalLM that the config describes")
        dtypes = set()
        for name, shape in expected.items():
            with self._opened(name) as file:
                described = file.get_slice(name)
                stored, dtype = tuple(described.get_shape()), described.get_dtype()
            if stored != shape:
                raise UserError(f"{self.folder}: {name} has shape {stored}, but the config makes it {shape}")
            dtypes.add(dtype)
        if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
            raise UserError(
                f"{self.folder}: weights of dtype {', '.join(sorted(dtypes))}; give all in one of {', '.join(DTYPES)}"
            )
        return DTYPES[dtypes.pop()]

    def read(self, block: Block) -> Tensor:
        """A block's tensor, of ``block.shape``."""
        parts = []
        for name in block.parts:
            with self._opened(name) as file:
                parts.append(file.get_tensor(name))
        return block.merge(parts)

    @contextmanager
    def _opened(self, name: str) -> Iterator[Any]:
        """The file that holds a tensor."""
        path = self.folder / self._files[name]
        try:
            with safe_open(path, framework="pt") as file:
                yield file
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path}: {name} cannot be read ({error}); it is missing or damaged") from None
