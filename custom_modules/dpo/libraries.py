"""The extra ``chat``: trl, peft, accelerate and datasets, imported without a word to anybody's server."""

from __future__ import annotations

import os
import sys
import warnings

from custom_modules.errors import UserError
from custom_modules.platform.requirements import project_requirements, unmet

EXTRA = "chat"
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "JE_ARROW_MALLOC_CONF": "background_thread:false",
    "TOKENIZERS_PARALLELISM": "false",
}
"""What the libraries read when they are imported: they tell and ask nobody, and start no thread, so that a process can
be forked afterwards."""


def require_libraries() -> None:
    """Make sure that the extra's packages are there.

    Raises:
        UserError: one is missing, or of a version that this program does not fit; with the command that installs it.
    """
    problems = list(unmet(project_requirements(EXTRA)))
    if problems:
        found = ", ".join(f"{wanted.name} {version or 'not installed'}" for wanted, version in problems)
        wanted = " ".join(f"'{wanted}'" for wanted, _ in problems)
        raise UserError(f"danube dpo: {found}; pip install {wanted}, or 'danube-pretrain[{EXTRA}]'")


def silence_libraries() -> None:
    """Turn telemetry and the network off, whether or not a library has been imported already."""
    os.environ.update(QUIET)
    constants = sys.modules.get("huggingface_hub.constants")
    if constants is not None:
        constants.HF_HUB_DISABLE_TELEMETRY = True  # type: ignore[attr-defined]
        constants.HF_HUB_OFFLINE = True  # type: ignore[attr-defined]


def import_libraries() -> None:
    """Import the libraries, quietly: seconds, once.

    Raises:
        UserError: as `require_libraries`.
    """
    require_libraries()
    silence_libraries()
    # What the libraries will call otherwise in a version to come is nothing that a user can change.
    for library in ("transformers", "trl", "peft", "accelerate", "datasets"):
        warnings.filterwarnings("ignore", category=FutureWarning, module=library)
    import datasets
    import peft  # noqa: F401
    from transformers.utils import logging
    from trl import DPOConfig, DPOTrainer  # noqa: F401

    datasets.disable_progress_bars()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
