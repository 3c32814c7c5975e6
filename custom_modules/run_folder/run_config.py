"""``config.yaml`` in a run's folder: the resolved config of its last start."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from custom_modules.config.schema import Config
from custom_modules.errors import UserError
from custom_modules.files import whole_files
from custom_modules.run_folder.checkpoint_files import find_newest

CONFIG = "config.yaml"


def write_run_config(config: Config) -> None:
    """Publish a run's config in its folder."""
    from omegaconf import OmegaConf

    text = OmegaConf.to_yaml(OmegaConf.create(config.model_dump(mode="json")))
    whole_files({config.run_dir / CONFIG: text.encode()})


def read_run_config(run_dir: Path) -> Mapping[str, Any] | None:
    """The config of a run's last start, else of its newest whole checkpoint; None if there is neither."""
    from omegaconf import OmegaConf

    path = run_dir / CONFIG
    if path.is_file():
        plain = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(plain, dict)
        return {str(key): value for key, value in plain.items()}
    with suppress(UserError):
        checkpoint, _ = find_newest(run_dir, verify_contents=False)
        return checkpoint.plain_config if checkpoint else None
    return None
