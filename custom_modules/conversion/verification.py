"""Proof that an exported model is the trained one: the same logits, from megatron-core and from transformers, and its
validation loss."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import Tensor

from custom_modules.chat_tokenizer.prompt_format import ROLES, ChatTokenizer, is_chat_folder
from custom_modules.config.load import validate
from custom_modules.config.schema import ONE_DEVICE, TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.conversion.local_model import load_auto_tokenizer, load_model
from custom_modules.conversion.validation_loss import compare_validation_losses
from custom_modules.errors import UserError
from custom_modules.run_folder import checkpoint_files
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.tokenizer import Tokenizer, load_tokenizer

ABSOLUTE_TOLERANCE = 1e-4
RELATIVE_TOLERANCE = 1e-5
"""What passes as a part of the largest logit, where that is more: the rounding of the full Danube-1.8B is 2e-4 at
logits up to 57."""

BEYOND_WINDOW = 64
"""Tokens by which the compared sequences exceed the window, so that one visible token more or less would show."""

LENGTH_WITHOUT_WINDOW = 512


def verify(source: Path, hf_dir: Path, text: str | None = None, data_dir: Path | None = None) -> float:
    """Compare both models' logits in fp32 on the CPU, on random tokens and on text, at a length beyond the window.

    The weights compared are the exported ones: those exported in bf16 are rounded to it in the trained model too. The
    differences go to stderr. Then the validation loss, as `compare_validation_losses` does.

    Args:
        source: the checkpoint or run folder that was exported.
        hf_dir: the exported folder.
        text: None for the English that Python carries.
        data_dir: where the run's prepared data is; None: still in its ``data.dir``.

    Returns:
        The largest absolute difference.

    Raises:
        UserError: it or the validation loss exceeds its tolerance, or the exported tokenizer encodes the text otherwise
            than training did.
    """
    checkpoint = checkpoint_files.resolve(source, verify_contents=False)
    config = checkpoint.config()
    tokenizer = load_tokenizer(config.model.tokenizer.library, checkpoint.tokenizer)
    text = _english() if text is None else text
    if is_chat_folder(checkpoint.tokenizer):
        _compare_conversations(ChatTokenizer.load(checkpoint.tokenizer), hf_dir, text)
    else:
        _compare_tokenizers(tokenizer, hf_dir, text)
    samples = {"random": _random_tokens(config), "text": _text_tokens(config, tokenizer, text)}
    single = _for_one_cpu_process(config, data_dir)
    trained = _trained_logits(single, checkpoint, samples, _exported_dtype(hf_dir))
    exported = _exported_logits(hf_dir, samples)
    largest = 0.0
    for name, tokens in samples.items():
        difference = (trained[name] - exported[name]).abs().max().item()
        tolerance = max(ABSOLUTE_TOLERANCE, RELATIVE_TOLERANCE * trained[name].abs().max().item())
        print(f"largest difference of logits, {tokens.shape[1]} tokens, {name}: {difference:.3g}", file=sys.stderr)
        if not difference <= tolerance:
            raise UserError(
                f"{checkpoint.path}: the export's logits differ from the trained model's by {difference:.3g} on "
                f"{name}, more than {tolerance:.3g}; it is another model"
            )
        largest = max(largest, difference)
    compare_validation_losses(checkpoint, single, hf_dir)
    return largest


def _length(config: TrainingConfig) -> int:
    window = config.model.sliding_window
    return min(
        Curriculum.from_config(config).max_seq_length, window + BEYOND_WINDOW if window else LENGTH_WITHOUT_WINDOW
    )


def _random_tokens(config: TrainingConfig) -> Tensor:
    return torch.randint(config.model.vocab_size, (1, _length(config)), generator=torch.Generator().manual_seed(0))


def _text_tokens(config: TrainingConfig, tokenizer: Tokenizer, text: str) -> Tensor:
    """Return as many tokens as are wanted, from the text over and over."""
    ids = tokenizer.encode(text)
    if not ids:
        raise UserError("--verify-text: the file is empty; give one with text")
    length = _length(config)
    return torch.tensor([(ids * -(-length // len(ids)))[:length]])


def _english() -> str:
    from pydoc_data.topics import topics

    return "\n\n".join(topics.values())


def _compare_tokenizers(tokenizer: Tokenizer, hf_dir: Path, text: str) -> None:
    if tokenizer.not_as_json:
        return
    exported = load_auto_tokenizer(hf_dir)
    for line in text.splitlines(keepends=True):
        if exported.encode(line, split_special_tokens=True) != tokenizer.encode(line):
            raise UserError(
                f"{tokenizer.path}: the export's AutoTokenizer encodes {line[:60]!r} otherwise than training did; "
                "encode with this file"
            )
    for index, token in tokenizer.control_tokens().items():
        if exported.encode(token) != [index]:
            raise UserError(
                f"{tokenizer.path}: the export's AutoTokenizer does not encode the control token {token} as {index}; "
                "it is another tokenizer"
            )


def _compare_conversations(tokenizer: ChatTokenizer, hf_dir: Path, text: str) -> None:
    """Compare the tokens of a conversation of every two lines of a text."""
    exported = load_auto_tokenizer(hf_dir)
    lines = [line for line in text.splitlines() if line.strip()]
    for pair in zip(lines[::2], lines[1::2], strict=False):
        messages = [{"role": role, "content": line} for role, line in zip(ROLES, pair, strict=True)]
        if exported.apply_chat_template(messages, return_dict=False) != tokenizer.encode(messages).ids:
            raise UserError(
                f"{hf_dir}: its AutoTokenizer encodes the answer {pair[1][:60]!r} otherwise than training did; export "
                "it again"
            )


def _exported_dtype(hf_dir: Path) -> torch.dtype:
    return getattr(torch, json.loads((hf_dir / "config.json").read_text(encoding="utf-8"))["dtype"])


def _for_one_cpu_process(config: TrainingConfig, data_dir: Path | None) -> TrainingConfig:
    plain = config.model_dump(mode="json")
    plain["trainer"] |= {
        "accelerator": "cpu",
        "devices": 1,
        "num_nodes": 1,
        "precision": "32-true",
        "cpu_threads": None,
    }
    plain["model"] |= {**ONE_DEVICE, "transformer_engine": "auto", "fp8": None}
    plain["model"]["optim"] |= {"grad_sync_dtype": "fp32"}
    if data_dir is not None:
        plain["data"]["dir"] = str(data_dir)
    return validate(plain, kind=type(config))


@torch.no_grad()
def _trained_logits(
    single: TrainingConfig, checkpoint: Checkpoint, samples: dict[str, Tensor], dtype: torch.dtype
) -> dict[str, Tensor]:
    """``[1, s, vocabulary]`` per sample, from one process whatever the run was trained on."""
    from custom_modules.model.build import build_model
    from custom_modules.platform import Platform
    from custom_modules.training.checkpoint import load_weights

    with Platform.detect(single).running(single):
        model = build_model(single, initial_weights=False).eval()
        load_weights([model], checkpoint)
        for parameter in model.parameters():
            parameter.copy_(parameter.to(dtype))
        return {
            name: model(tokens, torch.arange(tokens.shape[1])[None], None)[..., : single.model.vocab_size]
            for name, tokens in samples.items()
        }


@torch.no_grad()
def _exported_logits(hf_dir: Path, samples: dict[str, Tensor]) -> dict[str, Tensor]:
    model = load_model(hf_dir, torch.float32)
    return {name: model(tokens, use_cache=False).logits for name, tokens in samples.items()}
