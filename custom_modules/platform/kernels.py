"""What computes the layers: Transformer Engine's modules or megatron-core's own, and which fusions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from custom_modules.errors import UserError
from custom_modules.platform.apex import find_apex
from custom_modules.platform.requirements import MEGATRON, TRANSFORMER_ENGINE, declared_by, requirement

if TYPE_CHECKING:
    from custom_modules.config.schema import Config

FP8_RECIPES = {"delayed", "tensorwise", "blockwise"}
INSTALL = "install the `gpu` extra"


@dataclass(frozen=True)
class Software:
    """What of NVIDIA's can be used here."""

    transformer_engine: str | None = None
    """The version; None if it cannot be used."""
    transformer_engine_problem: str = "not installed"
    """Why it cannot."""
    fp8_problems: Mapping[str, str] = field(default_factory=dict)
    """``model.fp8_recipe`` -> why this device does not run it."""
    apex_problem: str | None = None
    """What is wrong with the package named apex; None if nothing is, or there is none."""
    weight_gradient_kernel: bool = False
    """Apex's ``fused_weight_gradient_mlp_cuda`` imports."""


@dataclass(frozen=True)
class Kernels:
    """The choice. Every field False: megatron-core's and torch's plain modules, which run anywhere."""

    transformer_engine: bool = False
    """Fused norm and linear, fused attention with the window, fused rotary embedding; needed for FP8."""
    fused_elementwise: bool = False
    """megatron-core's compiled SwiGLU and residual addition."""
    gradient_accumulation_fusion: bool = False
    """Every linear and the head add their weights' gradients up in fp32 themselves, with Apex's kernel.

    Without it Transformer Engine's linears still do so with their own; megatron-core has one switch for all.
    """
    notes: tuple[str, ...] = ()
    """What whoever starts the run should know, a line each."""


LOCAL = Kernels()


def choose_kernels(config: Config, accelerator: str, software: Software) -> Kernels:
    """Decide, from what is asked for and what is there.

    Args:
        accelerator: gpu or cpu, where the run computes.

    Raises:
        UserError: the config asks for what this machine cannot do.
    """
    model = config.model
    notes = []
    if software.apex_problem:
        notes.append(f"Apex: {software.apex_problem}")
    if accelerator == "cpu":
        if model.fp8:
            raise UserError(f"model.fp8={model.fp8}: needs an H100 and Transformer Engine; set model.fp8=null")
        if model.transformer_engine is True:
            raise UserError("model.transformer_engine=true: needs a GPU; set model.transformer_engine=auto")
        return Kernels(notes=tuple(notes))
    available = software.transformer_engine is not None
    if model.fp8 and not available:
        raise UserError(
            f"model.fp8={model.fp8}: Transformer Engine cannot be used ({software.transformer_engine_problem}); "
            f"{INSTALL}, or set model.fp8=null to train in bf16"
        )
    if model.fp8 and model.fp8_recipe in software.fp8_problems:
        reason = software.fp8_problems[model.fp8_recipe]
        if software.fp8_problems.keys() >= FP8_RECIPES:
            raise UserError(
                f"model.fp8={model.fp8}: not on this device ({reason}); set model.fp8=null to train in bf16"
            )
        raise UserError(
            f"model.fp8_recipe={model.fp8_recipe}: not on this device ({reason}); "
            "choose another, or set model.fp8=null to train in bf16"
        )
    if model.transformer_engine is True and not available:
        raise UserError(
            f"model.transformer_engine=true: it cannot be used ({software.transformer_engine_problem}); {INSTALL}, "
            "or set model.transformer_engine=auto"
        )
    chosen = available and config.may_use_transformer_engine
    if available and model.transformer_engine == "auto" and not chosen:
        notes.append(
            f"no Transformer Engine (trainer.precision={config.trainer.precision}): in fp32 its attention would need a "
            "matrix of s x s; set trainer.precision=bf16-mixed to have it"
        )
    elif not chosen:
        why = "model.transformer_engine=false" if available else software.transformer_engine_problem
        notes.append(
            f"no Transformer Engine ({why}): no FP8, no fused norm and linear or rotary embedding, attention block by "
            f"block beyond the window; {'set model.transformer_engine=auto' if available else INSTALL}"
        )
    return Kernels(
        transformer_engine=chosen,
        fused_elementwise=True,
        gradient_accumulation_fusion=software.weight_gradient_kernel,
        notes=tuple(notes),
    )


@functools.cache
def find_software(accelerator: str) -> Software:
    """Look, and import what is there. On a CPU nothing is imported: see `custom_modules.platform.megatron`."""
    apex = find_apex()
    apex_problem = f"{apex.found}; {apex.remedy}" if apex and apex.remedy else None
    if accelerator == "cpu":
        return Software(apex_problem=apex_problem)
    version, problem = _transformer_engine()
    return Software(
        transformer_engine=None if problem else version,
        transformer_engine_problem=problem or "",
        fp8_problems={} if problem else _fp8_problems(),
        apex_problem=apex_problem,
        weight_gradient_kernel=_has_weight_gradient_kernel(),
    )


def kernels_here(config: Config, accelerator: str) -> Kernels:
    """`choose_kernels` by what is installed.

    Raises:
        UserError: as there.
    """
    return choose_kernels(config, accelerator, find_software(accelerator))


def _transformer_engine() -> tuple[str, str | None]:
    """Return its version, and why it cannot be used; None if it can."""
    try:
        import transformer_engine
        import transformer_engine.pytorch
    except ModuleNotFoundError as error:
        return "", "not installed" if error.name == "transformer_engine" else f"not importable: {error}"
    except (ImportError, OSError, RuntimeError) as error:
        return "", f"not importable: {' '.join(str(error).split())}"
    version = str(transformer_engine.__version__)
    wanted = requirement(declared_by(MEGATRON), TRANSFORMER_ENGINE)
    return version, f"{version} is not {wanted.specifier}" if wanted.excludes(version) else None


def _fp8_problems() -> dict[str, str]:
    from transformer_engine.pytorch.fp8 import FP8GlobalStateManager

    per_tensor, blockwise = FP8GlobalStateManager.is_fp8_available, FP8GlobalStateManager.is_fp8_block_scaling_available
    answers = {"delayed": per_tensor(), "tensorwise": per_tensor(), "blockwise": blockwise()}
    return {recipe: reason for recipe, (possible, reason) in answers.items() if not possible}


def _has_weight_gradient_kernel() -> bool:
    try:
        import fused_weight_gradient_mlp_cuda  # noqa: F401
    except ImportError:
        return False
    return True
