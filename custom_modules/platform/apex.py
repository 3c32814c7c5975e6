"""The package named apex, known by what is in its folder: nothing of it is imported."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from custom_modules.platform.requirements import installed

PARTS = ("optimizers", "multi_tensor_apply")
EXTENSIONS = ("amp_C", "fused_weight_gradient_mlp_cuda")
"""The ones that megatron-core imports."""


@dataclass(frozen=True)
class Apex:
    """A package of that name."""

    is_nvidias: bool
    found: str
    """Whose it is, with its version."""
    remedy: str | None
    """What to do about it; None if nothing is wrong."""


def find_apex() -> Apex | None:
    """Find the one that Python would import; None if there is none. NVIDIA's is never needed."""
    spec = find_spec("apex")
    if spec is None:
        return None
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if not any(all((folder / part).is_dir() for part in PARTS) for folder in folders):
        remedy = "pip uninstall apex; NVIDIA's is not on PyPI (https://github.com/NVIDIA/apex), and not needed"
        return Apex(False, f"not NVIDIA's: {_described('apex') or spec.origin or folders[0]}", remedy)
    lacking = [name for name in EXTENSIONS if find_spec(name) is None]
    version = installed("apex") or "of an unknown version"
    if lacking:
        remedy = "build it with its CUDA extensions (https://github.com/NVIDIA/apex), or uninstall it"
        return Apex(True, f"NVIDIA's {version}, without {', '.join(lacking)}", remedy)
    return Apex(True, f"NVIDIA's {version}, with {', '.join(EXTENSIONS)}", None)


def _described(package: str) -> str | None:
    """A package by its own words."""
    if installed(package) is None:
        return None
    about = metadata.metadata(package)
    return f'{about["Name"]} {about["Version"]}, "{about["Summary"] or "no summary"}"'
