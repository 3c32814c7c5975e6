"""`danube convert`: checkpoints from and to Hugging Face, and to llama.cpp."""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from custom_modules.commands.clearing import clearing_away
from custom_modules.commands.command import add_parser
from custom_modules.commands.options import config_of, path, take_config
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from custom_modules.run_folder.checkpoint_files import Checkpoint

_CHECKPOINT = "a run's folder (its newest checkpoint) or one checkpoint's"


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add the directions, each with its options."""
    directions = command.add_subparsers(dest="direction", metavar="DIRECTION", required=True)
    _add_to_hf(
        add_parser(
            directions, "to-hf", "Write a Hugging Face folder (of Danube: MistralForCausalLM) from a checkpoint."
        )
    )
    _add_to_gguf(add_parser(directions, "to-gguf", "Write a file for llama.cpp from a checkpoint of LokiLM's kind."))
    _add_from_hf(add_parser(directions, "from-hf", "Write a checkpoint from a Hugging Face folder."))


def _add_to_hf(direction: argparse.ArgumentParser) -> None:
    direction.add_argument("source", type=path, help=_CHECKPOINT)
    direction.add_argument("output", type=path, help="the folder to write")
    direction.add_argument("--dtype", choices=("bf16", "fp32"), help="of the weights; default: as trained")
    direction.add_argument("--overwrite", action="store_true", help="replace the output folder if it is there")
    direction.add_argument(
        "--verify", action="store_true", help="compare logits and validation loss with the trained model's"
    )
    direction.add_argument("--verify-text", type=path, help="the same, and the logits are compared on this text")
    direction.add_argument("--data-dir", type=path, help="for --verify: the run's prepared data; default: its data.dir")
    direction.set_defaults(convert=_to_hf)


def _add_to_gguf(direction: argparse.ArgumentParser) -> None:
    direction.add_argument("source", type=path, help=_CHECKPOINT)
    direction.add_argument("output", type=path, help="the .gguf file to write")
    direction.add_argument("--dtype", choices=("bf16", "fp32"), help="of the matrices; default: as trained")
    direction.add_argument("--overwrite", action="store_true", help="replace the output if it is an earlier export")
    direction.set_defaults(convert=_to_gguf)


def _add_from_hf(direction: argparse.ArgumentParser) -> None:
    direction.add_argument(
        "source", type=path, help="the folder of a model of the config's architecture (of Danube: MistralForCausalLM)"
    )
    direction.add_argument("output", type=path, help="the checkpoint's run folder to write")
    take_config(direction)
    direction.set_defaults(convert=_from_hf)


def run(options: argparse.Namespace) -> int:
    """Convert in the direction that was given, and print what was written."""
    # Tensors in huge pages: each is allocated anew, and small pages would take longer to get than to fill.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with clearing_away():
        from custom_modules.platform.megatron import quiet_megatron

        quiet_megatron()
        print(options.convert(options))
    return 0


def _from_hf(options: argparse.Namespace) -> object:
    config = config_of(options)

    from custom_modules.conversion import from_hf

    return from_hf(options.source, options.output, config)


def _to_gguf(options: argparse.Namespace) -> object:
    from custom_modules.conversion import to_gguf

    to_gguf(options.source, options.output, options.dtype, options.overwrite)
    return options.output


def _to_hf(options: argparse.Namespace) -> object:
    from custom_modules.conversion import to_hf, verify
    from custom_modules.platform.megatron import import_megatron

    if (adapted := _adapter_checkpoint(options.source)) is not None:
        from custom_modules.dpo.export import merge_to_hf

        if options.verify or options.verify_text:
            raise UserError("--verify: of a DPO run the export is compared anyway; leave it out")
        merge_to_hf(adapted, options.output, options.dtype, options.overwrite)
        return options.output
    if options.verify_text and not options.verify_text.is_file():
        raise UserError(f"--verify-text {options.verify_text}: no such file")
    check = None
    if options.verify or options.verify_text:
        import_megatron("cpu")
        text = options.verify_text.read_text() if options.verify_text else None
        check = partial(verify, text=text, data_dir=options.data_dir)
    to_hf(options.source, options.output, options.dtype, options.overwrite, check=check)
    return options.output


def _adapter_checkpoint(source: Path) -> Checkpoint | None:
    """Return the checkpoint of a DPO run, compared with its hashes; None where the source is another kind of run's."""
    from custom_modules.dpo.base_model import is_dpo_checkpoint
    from custom_modules.run_folder.checkpoint_files import resolve

    found = resolve(source, verify_contents=False)
    return resolve(source) if is_dpo_checkpoint(found) else None
