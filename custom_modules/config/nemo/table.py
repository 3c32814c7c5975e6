"""Every NeMo key that is known, of NeMo 1's `megatron_gpt_config.yaml` and its code, and of NeMo 2's recipes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from custom_modules.config.nemo.data import DATA, TOKENIZERS
from custom_modules.config.nemo.data import NEMO_2 as DATA_2
from custom_modules.config.nemo.exp_manager import EXP_MANAGER
from custom_modules.config.nemo.exp_manager import NEMO_2 as LOG_2
from custom_modules.config.nemo.fates import NemoKey
from custom_modules.config.nemo.hydra import HYDRA
from custom_modules.config.nemo.model import ARCHITECTURE
from custom_modules.config.nemo.model_config import MODEL_CONFIG
from custom_modules.config.nemo.optimizer import NEMO_2 as OPTIM_2
from custom_modules.config.nemo.optimizer import OPTIMIZER
from custom_modules.config.nemo.parallelism import PARALLELISM
from custom_modules.config.nemo.precision import PRECISION
from custom_modules.config.nemo.strategy import STRATEGY
from custom_modules.config.nemo.trainer import LIGHTNING

SECTIONS: Mapping[str, tuple[NemoKey, ...]] = MappingProxyType(
    {
        "Trainer": LIGHTNING,
        "Trainer, NeMo 2": STRATEGY,
        "Folder, checkpoints, logs": EXP_MANAGER,
        "Folder, checkpoints, logs, NeMo 2": LOG_2,
        "Model and batch": ARCHITECTURE,
        "Parallelism and recomputation": PARALLELISM,
        "Precision, kernels, profiling": PRECISION,
        "Model, NeMo 2": MODEL_CONFIG,
        "Optimizer": OPTIMIZER,
        "Optimizer, NeMo 2": OPTIM_2,
        "Tokenizer": TOKENIZERS,
        "Data": DATA,
        "Data, NeMo 2": DATA_2,
        "Hydra": HYDRA,
    }
)


def _by_name(entries: Iterable[NemoKey]) -> Mapping[str, NemoKey]:
    table: dict[str, NemoKey] = {}
    for entry in entries:
        if entry.name in table:
            raise ValueError(f"{entry.name}: two entries")
        table[entry.name] = entry
    return MappingProxyType(table)


TABLE = _by_name(entry for entries in SECTIONS.values() for entry in entries)


def is_known(key: str) -> bool:
    """Tell whether NeMo has a key or a section of that name."""
    return find(key) is not None or any(name.startswith(f"{key}.") for name in TABLE)


def find(key: str) -> NemoKey | None:
    """Return the entry of a dotted key, or of the nearest section that it is in; None for a key that NeMo has not."""
    if key in TABLE:
        return TABLE[key]
    section = key
    while "." in section:
        section = section.rpartition(".")[0]
        if f"{section}.*" in TABLE:
            return TABLE[f"{section}.*"]
    return None
