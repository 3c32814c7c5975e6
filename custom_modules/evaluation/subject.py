"""What is evaluated: a checkpoint of a run, or a Hugging Face folder. Looked at before any weights are loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from custom_modules.architecture import ARCHITECTURES
from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer, is_chat_folder
from custom_modules.config.schema import TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.conversion.hf_tokenizer import ONLY_SENTENCEPIECE
from custom_modules.errors import UserError
from custom_modules.evaluation.results import EVALUATION
from custom_modules.files import readable, sha256_of
from custom_modules.plan.parameters import count_parameters
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.checkpoint_files import DIST, Checkpoint
from custom_modules.run_folder.metadata import METADATA
from custom_modules.scoring.encoding import Encoder, PlainEncoder, chat_encoder, check_agreement
from custom_modules.text import say
from custom_modules.tokenizer import Tokenizer, load_tokenizer
from custom_modules.tokenizer.load import FILES

CONFIG = "config.json"
EXPORT = "export"
"""The folder of a checkpoint's export, beside its evaluations."""
_WEIGHTS = (".safetensors", ".bin")
_LENGTHS = ("max_position_embeddings", "n_positions", "n_ctx")
_LENGTH = 2_048
"""Where a config.json says none; the old harness's."""

Template = Callable[..., str]
"""Writes messages as one text; takes ``add_generation_prompt``."""


@dataclass(frozen=True)
class Run:
    """A checkpoint, and the config of the run that wrote it."""

    named: Path
    checkpoint: Checkpoint
    config: TrainingConfig

    kind = "run"

    @property
    def run_dir(self) -> Path:
        """The run's folder; the checkpoint's own where that is in none."""
        path = self.checkpoint.path
        return path.parent.parent if path.parent.name == "checkpoints" else path

    @property
    def home(self) -> Path:
        """The folder that its evaluations are in."""
        return self.run_dir / EVALUATION / checkpoint_files.folder_name(self.checkpoint.consumed_tokens)

    @property
    def consumed_tokens(self) -> int | None:
        """How far it was trained."""
        return self.checkpoint.consumed_tokens

    @cached_property
    def weights(self) -> str:
        """A digest of all that the checkpoint's tensors are in, by the hashes that were noted when it was written."""
        files: Mapping[str, Any] = self.checkpoint.metadata["files"]
        said = {name: entry["sha256"] for name, entry in files.items() if name.startswith(f"{DIST}/")}
        return _digest(said)

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The one that it was trained with."""
        return load_tokenizer(self.config.model.tokenizer.library, self.checkpoint.tokenizer)

    def encoder(self, chat_template: bool) -> Encoder:
        """Return what encodes requests.

        Raises:
            UserError: with a chat template, which is an export's.
        """
        if chat_template:
            raise UserError(f"--chat-template: {self.named} is a run, and an export has the template; give --export")
        return PlainEncoder(self.tokenizer)

    def template(self) -> Template:
        """Raises UserError: an export has it."""
        raise UserError(f"--chat-template: {self.named} is a run, and an export has the template; give --export")

    def check_tokenizer(self, texts: Sequence[str]) -> None:
        """Nothing can disagree: a run has one tokenizer."""

    @property
    def is_chat(self) -> bool:
        """Whether it was trained on conversations."""
        return is_chat_folder(self.checkpoint.tokenizer)

    @property
    def parameters(self) -> int:
        """How many every token is multiplied with."""
        return count_parameters(self.config.model).matmul

    def make(self) -> None:
        """Nothing is to be made of a run."""

    @property
    def max_length(self) -> int:
        """Tokens that it reads at most: its longest stage's."""
        return Curriculum.from_config(self.config).max_seq_length


@dataclass(frozen=True)
class Folder:
    """A Hugging Face folder.

    Attributes:
        origin: the run that it was exported from for this evaluation; None: it was given.
    """

    named: Path
    origin: Run | None = None

    kind = "export"

    @property
    def path(self) -> Path:
        """Where it is."""
        return self.origin.home / EXPORT if self.origin else self.named

    def make(self) -> None:
        """Export the run's checkpoint where that is to be done and is not done yet.

        Raises:
            UserError: it is damaged, or the disk refuses.
        """
        if self.origin is None or (self.path / CONFIG).is_file():
            return
        from custom_modules.conversion.hf_export import to_hf

        say(f"{self.origin.checkpoint.path}: exported to {self.path}")
        to_hf(self.origin.checkpoint.path, self.path)

    @property
    def run_dir(self) -> Path | None:
        """The run that it was exported from here."""
        return self.origin.run_dir if self.origin else None

    @property
    def home(self) -> Path:
        """The folder that its evaluations are in."""
        return self.origin.home if self.origin else self.named / EVALUATION

    @property
    def consumed_tokens(self) -> int | None:
        """How far the run was trained that it was exported from here."""
        return self.origin.consumed_tokens if self.origin else None

    @property
    def parameters(self) -> int:
        """About how many it has: by the size of its files."""
        size = {"fp32": 4}.get(self.dtype, 2)
        return sum(file.stat().st_size for file in self.path.iterdir() if file.suffix in _WEIGHTS) // size

    @cached_property
    def weights(self) -> str:
        """A digest of the files of weights and of the config."""
        with readable(self.path):
            files = sorted(file for file in self.path.iterdir() if file.suffix in _WEIGHTS or file.name == CONFIG)
            if len(files) < 2:
                raise UserError(f"{self.path}: no weights there (*.safetensors or *.bin); give a whole model's folder")
            return _digest({file.name: sha256_of(file) for file in files})

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The project's own reading of what the model was trained with.

        Raises:
            UserError: there is none, or it cannot be read.
        """
        for library in ("sentencepiece", "huggingface"):
            for place in (self.path, self.path / ONLY_SENTENCEPIECE):
                if (place / FILES[library]).is_file():
                    return load_tokenizer(library, place)
        raise UserError(
            f"{self.path}: neither {' nor '.join(FILES.values())} there; put the tokenizer that the model was trained "
            "with into it"
        )

    @property
    def _json(self) -> Path:
        return self.path / FILES["huggingface"]

    def encoder(self, chat_template: bool) -> Encoder:
        """Return what encodes requests.

        Args:
            chat_template: whether a template has written them.
        """
        if not chat_template:
            return PlainEncoder(self.tokenizer)
        return chat_encoder(self._json, self._eos_ids())

    def template(self) -> Template:
        """Return the folder's chat template.

        Raises:
            UserError: it has none.
        """
        if is_chat_folder(self.path):
            chat = ChatTokenizer.load(self.path)
            return lambda messages, add_generation_prompt=True: chat.render(messages, add_generation_prompt)
        from custom_modules.conversion.local_model import load_auto_tokenizer

        if not self.is_chat:
            raise UserError(f"--chat-template: {self.path} has none; leave it out, or give a chat model's folder")
        auto = load_auto_tokenizer(self.path)

        def write(messages: Sequence[Mapping[str, str]], add_generation_prompt: bool = True) -> str:
            return str(auto.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))

        return write

    def check_tokenizer(self, texts: Sequence[str]) -> None:
        """Make sure that a folder's two tokenizers agree on some texts.

        Raises:
            UserError: they do not.
        """
        if (
            self.tokenizer.library == "sentencepiece"
            and self.tokenizer.path.parent == self.path
            and self._json.exists()
        ):
            check_agreement(self.tokenizer, self._json, texts)

    @property
    def is_chat(self) -> bool:
        """Whether it has a chat template."""
        if is_chat_folder(self.path) or (self.path / "chat_template.jinja").is_file():
            return True
        return bool(_read(self.path / "tokenizer_config.json").get("chat_template"))

    @property
    def max_length(self) -> int:
        """Tokens that it reads at most; of an export that may be still to be made, the run's."""
        if self.origin is not None:
            return self.origin.max_length
        config = _read(self.path / CONFIG)
        config = {**config, **(config.get("text_config") or {})}
        return next((int(config[name]) for name in _LENGTHS if config.get(name)), _LENGTH)

    @property
    def model_type(self) -> str:
        """What transformers calls its class; of an export that may be still to be made, the run's."""
        if self.origin is not None:
            return ARCHITECTURES[self.origin.config.model.architecture].hugging_face.model_type
        return str(_read(self.path / CONFIG).get("model_type"))

    @property
    def dtype(self) -> str:
        """What it computes in: its config's."""
        config = _read(self.path / CONFIG)
        name = str(config.get("dtype") or config.get("torch_dtype") or "float32")
        return {"bfloat16": "bf16", "float32": "fp32", "float16": "fp16"}.get(name, name)

    def _eos_ids(self) -> tuple[int, ...]:
        for name in ("generation_config.json", CONFIG):
            found = _read(self.path / name).get("eos_token_id")
            ids = found if isinstance(found, list) else [found]
            if ids and all(isinstance(index, int) for index in ids):
                return tuple(ids)
        return (self.tokenizer.eos_id,)


Subject = Run | Folder


def open_subject(path: Path, verify_contents: bool) -> Subject:
    """Look at what is to be evaluated.

    Args:
        path: a run's folder for its newest checkpoint, a checkpoint's, or a Hugging Face folder.
        verify_contents: whether a checkpoint's files are compared with their hashes, too.

    Raises:
        UserError: it is none of these, or a checkpoint is damaged.
    """
    with readable(path):
        if (path / CONFIG).is_file() and not (path / METADATA).is_file():
            return Folder(path)
        if path.is_dir() and not (path / METADATA).is_file() and not checkpoint_files.checkpoints_dir(path).is_dir():
            raise UserError(
                f"{path}: neither a run nor a model: no checkpoints and no {CONFIG} there; give a run's folder, one of "
                "its checkpoints, or what `danube convert to-hf` wrote"
            )
    checkpoint = checkpoint_files.resolve(path, verify_contents)
    return Run(path, checkpoint, checkpoint.config())


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    with readable(path):
        try:
            found = json.loads(path.read_bytes())
        except ValueError as error:
            raise UserError(f"{path}: not JSON ({error}); copy it again from where the model is from") from None
    return found if isinstance(found, dict) else {}


def _digest(said: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
