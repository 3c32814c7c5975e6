"""Options that several commands take, and the config that they name."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from custom_modules.config.schema import Config, RunConfig, TrainingConfig
    from custom_modules.config.sft import SftConfig

Kind = TypeVar("Kind", bound="RunConfig")


def path(text: str) -> Path:
    """Refuse what an unset variable leaves: `Path` would take it for the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a path is needed, not nothing: is a variable unset?")
    return Path(text)


def positive(text: str) -> int:
    """Return a number of 1 or more.

    Raises:
        argparse.ArgumentTypeError: it is less.
    """
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return number


def take_config(command: argparse.ArgumentParser, words: str = "", default: str = "danube_1_8b") -> None:
    """Add the options that name a config.

    Args:
        words: what the help calls other words than overrides that the command takes among them, with a blank at its
            end; empty: none.
        default: the recipe that is meant where none is given.
    """
    command.add_argument("--config-name", default=default, help="a file of nemo_configs/, without .yaml")
    command.add_argument(
        "--config-dir", "--config-path", type=path, help="a folder of your own configs, which may build on ours"
    )
    command.set_defaults(takes_words=bool(words))
    command.add_argument("overrides", nargs="*", metavar=f"{words}KEY=VALUE", help="values that differ from the files")


_inherited: list[tuple[list[str], Any]] = []
"""At most one command line, with its config, which forked processes find here."""


def config_of(options: argparse.Namespace) -> Config:
    """Load the config that the options of `take_config` name, once for a command line.

    Raises:
        UserError: as `load_config` does.
    """
    from custom_modules.config.schema import Config

    return kind_of_config(options, Config)


def kind_of_config(options: argparse.Namespace, kind: type[Kind]) -> Kind:
    """Load the config of a kind of run that the options name, once for a command line.

    Raises:
        UserError: as `load_config` does.
    """
    from custom_modules.config.load import load_config

    return _once(
        options, kind, lambda: load_config(options.config_name, options.overrides, options.config_dir, kind=kind)
    )


def training_config_of(options: argparse.Namespace) -> TrainingConfig:
    """Load the config that the options name, once for a command line, of any kind that trains all weights.

    Raises:
        UserError: it is of another kind, or as `load_config` does.
    """
    from custom_modules.config.load import load_training_config
    from custom_modules.config.schema import TrainingConfig

    return _once(
        options,
        TrainingConfig,
        lambda: load_training_config(options.config_name, options.overrides, options.config_dir),
    )


def _once(options: argparse.Namespace, kind: type[Any], load: Callable[[], Kind]) -> Kind:
    """Return the config of a command line, which is loaded where nothing has loaded it yet."""
    for arguments, config in _inherited:
        if arguments == options.arguments and isinstance(config, kind):
            return config
    if not isinstance(getattr(options, "config", None), kind):
        options.config = load()
    found: Kind = options.config
    return found


@contextmanager
def inherited(options: argparse.Namespace, config: RunConfig) -> Iterator[None]:
    """Let processes that are forked meanwhile, for the same command line, have its config without loading it again."""
    _inherited.append((options.arguments, config))
    try:
        yield
    finally:
        _inherited.pop()


def sft_config_of(options: argparse.Namespace) -> SftConfig:
    """Load the config of a fine-tuning run that the options name."""
    from custom_modules.config.sft import SftConfig

    return kind_of_config(options, SftConfig)


def any_config_of(options: argparse.Namespace) -> RunConfig:
    """Load the config that the options name, of whatever kind its recipe is."""
    from custom_modules.config.load import load_any_config

    return load_any_config(options.config_name, options.overrides, options.config_dir)


def is_override(word: str) -> bool:
    """Whether a word of the command line is Hydra's ``KEY=VALUE`` or ``~KEY``."""
    return not word.startswith("-") and ("=" in word or word.startswith("~"))
