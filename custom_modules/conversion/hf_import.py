"""`danube convert from-hf`: a Hugging Face folder becomes a checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer, is_chat_folder
from custom_modules.config.schema import Config, ModelConfig
from custom_modules.conversion.dist_writer import write_dist
from custom_modules.conversion.first_checkpoint import write_first_checkpoint
from custom_modules.conversion.hf_config import check_config
from custom_modules.conversion.hf_export import INDEX, SINGLE
from custom_modules.conversion.hf_tokenizer import read_tokenizer
from custom_modules.conversion.layout import Block, blocks
from custom_modules.conversion.streams import AHEAD, DTYPES
from custom_modules.errors import UserError
from custom_modules.files import readable, whole_folder
from custom_modules.read_ahead import read_ahead
from custom_modules.run_folder import checkpoint_files

COMPUTED = ".rotary_emb.inv_freq"
"""The end of the names of buffers that older versions of transformers saved, though the config has what they hold."""


def from_hf(hf_dir: Path, output: Path, config: Config) -> Path:
    """Write the checkpoint of a run that has read nothing yet, with a Hugging Face model's weights and no optimizer.

    Weights keep their dtype, are read tensor by tensor, and padded vocabulary rows are 0.

    Args:
        hf_dir: config.json, weights as safetensors, and a tokenizer of ``model.tokenizer.library``. One that `to_hf`
            wrote of a chat model keeps its prompt format.
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
    chat = ChatTokenizer.load(hf_dir) if is_chat_folder(hf_dir) else None
    if existing := checkpoint_files.list_folders(output):
        raise UserError(f"{output}: already has a checkpoint, {existing[-1].name}; give another folder")
    target = checkpoint_files.checkpoints_dir(output) / checkpoint_files.folder_name(0)
    with whole_folder(target) as aside:
        write_first_checkpoint(
            aside,
            config,
            tokenizer,
            lambda dist: write_dist(dist, config.model, dtype, read_ahead(weights.read, blocks(config.model), AHEAD)),
            weights_only=True,
            chat=chat,
        )
    return target


class Weights:
    """The safetensors of a Hugging Face folder, one file or several.

    Raises:
        UserError: a file is missing or damaged, or does not hold the tensors that the index says.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        single = folder / SINGLE
        self._files = dict.fromkeys(_names(single), SINGLE) if single.is_file() else self._indexed()

    def _indexed(self) -> dict[str, str]:
        """The file of each tensor, as the index and the files themselves have it."""
        path = self.folder / INDEX
        if not path.is_file():
            pickled = sorted(self.folder.glob("pytorch_model*.bin"))
            advice = (
                f"save {pickled[0].name} as safetensors with transformers' save_pretrained"
                if pickled
                else "give a whole Hugging Face folder"
            )
            raise UserError(f"{self.folder}: no {SINGLE} and no {INDEX}; {advice}")
        with readable(path):
            content = path.read_bytes()
        try:
            files = json.loads(content)["weight_map"]
            if not all(file and isinstance(file, str) and Path(file).name == file for file in files.values()):
                raise ValueError("weight_map is to name a file of the folder for each tensor")
            files = {name: file for name, file in files.items() if _is_weight(name)}
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"{path}: not an index of tensors ({error}); fetch it again") from None
        stored = {
            file: _names(self.folder / file, f", though {INDEX} names it") for file in sorted(set(files.values()))
        }
        for file, names in stored.items():
            if unlisted := sorted(name for name in names if files.get(name) != file):
                raise UserError(
                    f"{self.folder / file}: holds {unlisted[0]}, but {INDEX} does not say so; fetch both again"
                )
        for name, file in files.items():
            if name not in stored[file]:
                raise UserError(
                    f"{self.folder / file}: {name} is missing, though {INDEX} places it there; fetch both again"
                )
        return dict(files)

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
            hf_class = model.kind.hugging_face.class_name
            raise UserError(f"{self.folder}: tensor {name} {kind}; give a {hf_class} that the config describes")
        dtypes = set()
        for name, shape in expected.items():
            with _opened(self.folder / self._files[name]) as file:
                described = file.get_slice(name)
                stored, dtype = tuple(described.get_shape()), described.get_dtype()
            if stored != shape:
                raise UserError(f"{self.folder}: {name} has shape {stored}, but the config makes it {shape}")
            dtypes.add(dtype)
        if len(dtypes) > 1 or not dtypes <= DTYPES.keys():
            raise UserError(
                f"{self.folder}: weights of dtype {', '.join(sorted(dtypes))}; give all in one of {', '.join(DTYPES)}"
                + (_as_one(self.folder) if dtypes <= DTYPES.keys() else "")
            )
        return DTYPES[dtypes.pop()]

    def read(self, block: Block) -> Tensor:
        """A block's tensor, of ``block.shape``.

        Raises:
            UserError: a file is damaged, or a number in it is none.
        """
        parts = []
        for name in block.parts:
            path = self.folder / self._files[name]
            with _opened(path) as file:
                parts.append(file.get_tensor(name))
            # Both ends are finite only if all between them is, and finding them takes no memory.
            if not all(end.isfinite() for end in parts[-1].aminmax()):
                wrong = int((~parts[-1].isfinite()).sum())
                raise UserError(
                    f"{path}: {name} has {wrong:,} of {parts[-1].numel():,} numbers that are NaN or infinite; fetch it "
                    "again, or give a model whose training did not diverge"
                )
        return block.merge(parts)


def _as_one(folder: Path) -> str:
    """How to have them so, with nothing lost."""
    return (
        ", as in the folder NEW, with the tokenizer's files copied there too, after: python -c \"from transformers "
        f"import AutoModelForCausalLM as M; M.from_pretrained('{folder}', dtype='float32').save_pretrained('NEW')\""
    )


def _names(path: Path, expected: str = "") -> set[str]:
    with _opened(path, expected) as file:
        return set(filter(_is_weight, file.keys()))


def _is_weight(name: str) -> bool:
    return not name.endswith(COMPUTED)


@contextmanager
def _opened(path: Path, expected: str = "") -> Iterator[Any]:
    # safetensors says of any file that it cannot open that it is missing.
    with readable(path):
        try:
            path.open("rb").close()
        except FileNotFoundError:
            raise UserError(f"{path}: missing{expected}; fetch it again") from None
    try:
        with safe_open(path, framework="pt") as file:
            yield file
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: damaged or cut short ({error}); fetch it again") from None
