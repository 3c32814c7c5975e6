"""``config.yaml`` in a run's folder: the resolved config of its last start."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from custom_modules.config.dpo import DpoConfig
from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import UserError
from custom_modules.files import whole_files
from custom_modules.run_folder.checkpoint_files import find_newest

CONFIG = "config.yaml"


def write_run_config(config: TrainingConfig | DpoConfig) -> None:
    """Publish a run's config in its folder."""
    whole_files({config.run_dir / CONFIG: config_text(config).encode()})


def config_text(config: TrainingConfig | DpoConfig) -> str:
    """Return a config as YAML, every key with its value: a recipe of its own."""
    from omegaconf import OmegaConf

    return OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))


def read_run_config(run_dir: Path) -> Mapping[str, Any] | None:
    """The config of a run's last start, else of its newest whole checkpoint; None if there is neither.

    Raises:
        UserError: the file is no config.
    """
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException
    from yaml import YAMLError

    path = run_dir / CONFIG
    if path.is_file():
        try:
            plain = OmegaConf.to_container(OmegaConf.load(path))
        except (YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
            plain = str(error).splitlines()[0]
        if not isinstance(plain, dict) or not plain:
            raise UserError(f"{path}: not a run's config ({plain}); remove it, and the next start writes it again")
        return {str(key): value for key, value in plain.items()}
    with suppress(UserError):
        checkpoint, _ = find_newest(run_dir, verify_contents=False)
        return checkpoint.plain_config if checkpoint else None
    return None
