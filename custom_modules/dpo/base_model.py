"""What a run trains its adapter on: an exported model, and the adapters of earlier runs, merged into it in fp32."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.model_parts import ArchitectureConfig
from custom_modules.errors import UserError
from custom_modules.files import readable, sha256_of
from custom_modules.run_folder.checkpoint_files import Checkpoint, resolve
from custom_modules.run_folder.metadata import METADATA

if TYPE_CHECKING:
    from transformers import PreTrainedModel

BASE = "base.json"
"""The file of a checkpoint that says what its adapter is an adapter of."""
ADAPTER = "adapter_model.safetensors"
ADAPTER_CONFIG = "adapter_config.json"
EARLIER = "earlier"
"""The folder of a checkpoint with the adapters of the runs before, by number."""
_CONFIG, _TEMPLATE = "config.json", "chat_template.jinja"


@dataclass(frozen=True)
class BaseModel:
    """An export, and adapters that are merged into it one after the other.

    Attributes:
        export: the folder.
        sha256: of its config and weights, by name.
        adapters: folders with `ADAPTER` and `ADAPTER_CONFIG`.
    """

    export: Path
    sha256: Mapping[str, str]
    adapters: tuple[Path, ...] = ()

    @property
    def tokenizer(self) -> Path:
        """The file that says which tokenizer the model was trained with."""
        return self.export / "tokenizer.json"

    def record(self) -> dict[str, Any]:
        """Return what `read_base` reads, but for the adapters, which lie beside it."""
        return {"export": str(self.export.absolute()), "sha256": dict(self.sha256), "adapters": len(self.adapters)}


def find_base(config: DpoConfig) -> BaseModel:
    """Return what ``model.restore_from_path`` names: an export, or a DPO run, whose newest adapter is merged, too.

    Raises:
        UserError: it is neither, it is not whole, or it is another model than the config describes.
    """
    key = f"model.restore_from_path={config.model.restore_from_path}"
    if config.model.restore_from_path is None:
        raise UserError("model.restore_from_path=null: nothing to align; give an exported chat model, or a DPO run")
    path = Path(config.model.restore_from_path)
    try:
        base = _open(path)
    except UserError as error:
        raise UserError(f"{key}: {error}") from None
    _check_model(key, base, config.model)
    return base


def base_of(checkpoint: Checkpoint, moved_to: Path | None = None) -> BaseModel:
    """Return what a checkpoint's adapter was trained on.

    Args:
        moved_to: where the export may lie today, if it is not where it was.

    Raises:
        UserError: the export is gone, or is another one by now.
    """
    recorded = json.loads((checkpoint.path / BASE).read_bytes())
    export, sha256 = Path(recorded["export"]), dict(recorded["sha256"])
    adapters = tuple(checkpoint.path / EARLIER / str(number) for number in range(recorded["adapters"]))
    if moved_to is not None and not (export / _CONFIG).is_file() and (moved_to / _CONFIG).is_file():
        export = moved_to
    if not (export / _CONFIG).is_file():
        raise UserError(
            f"{checkpoint.path}: its adapter is one of {export}, which is gone; put that back, or set "
            "model.restore_from_path to where it is now"
        )
    if _hashes(export) != sha256:
        raise UserError(
            f"{export}: not the model that {checkpoint.path} has an adapter of; put that back, or set another "
            "exp_manager.name to begin anew"
        )
    return BaseModel(export, sha256, adapters)


def is_dpo_checkpoint(checkpoint: Checkpoint) -> bool:
    """Tell whether a checkpoint holds an adapter, and not a model's weights."""
    return (checkpoint.path / BASE).is_file()


def load_base(base: BaseModel, attention: str) -> PreTrainedModel:
    """Load the model in fp32, with the adapters of earlier runs merged, nothing rounded.

    Args:
        attention: what transformers calls the one to compute with.

    Raises:
        UserError: transformers or peft cannot load it.
    """
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    try:
        model = AutoModelForCausalLM.from_pretrained(
            base.export, dtype=torch.float32, attn_implementation=attention, trust_remote_code=False
        )
        for adapter in base.adapters:
            model = PeftModel.from_pretrained(model, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError) as error:
        raise UserError(f"{base.export}: cannot be loaded ({' '.join(str(error).split())})") from error
    assert isinstance(model, torch.nn.Module)
    return model


def _open(path: Path) -> BaseModel:
    with readable(path):
        if (path / _CONFIG).is_file():
            return _open_export(path)
    if not (path / METADATA).is_file() and not (path / "checkpoints").is_dir():
        raise UserError("no exported model and no run there; export a fine-tuned run with `danube convert to-hf` first")
    checkpoint = resolve(path)
    if not is_dpo_checkpoint(checkpoint):
        raise UserError(
            f"{checkpoint.path} has a model's weights and no adapter; export it with `danube convert to-hf`, and give "
            "the export"
        )
    before = base_of(checkpoint)
    return BaseModel(before.export, before.sha256, (*before.adapters, checkpoint.path))


def _open_export(path: Path) -> BaseModel:
    plain = json.loads((path / _CONFIG).read_bytes())
    if plain.get("auto_map"):
        raise UserError(
            f"{path / _CONFIG}: code of the folder's own is not run; give a model whose class transformers has"
        )
    if not (path / _TEMPLATE).is_file():
        raise UserError(f"{path}: no {_TEMPLATE} there, so it is no chat model; export a run of `danube sft`")
    return BaseModel(path, _hashes(path))


def _hashes(export: Path) -> dict[str, str]:
    """Return the hashes of what an export's function follows from."""
    weights = sorted(export.glob("*.safetensors"))
    if not weights:
        raise UserError(f"{export}: no weights as safetensors there; export the run again")
    with readable(export):
        return {path.name: sha256_of(path) for path in (export / _CONFIG, *weights)}


def _check_model(key: str, base: BaseModel, model: ArchitectureConfig) -> None:
    """Refuse a model of another shape than the config's, which a plan and a report would be wrong about."""
    plain = json.loads((base.export / _CONFIG).read_bytes())
    names = model.kind.hugging_face.shape
    differing = [
        f"{theirs}={plain[theirs]}, but model.{ours}={getattr(model, ours)}"
        for theirs, ours in names.items()
        if theirs in plain and plain[theirs] != getattr(model, ours)
    ]
    if differing:
        raise UserError(f"{key}: {'; '.join(differing)}; set pretrained to the recipe of that model, or these keys")
