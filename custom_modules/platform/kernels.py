"""What computes the layers: Transformer Engine's modules or megatron-core's own, and which fusions."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from custom_modules.errors import UserError
from custom_modules.platform.apex import find_apex
from custom_modules.platform.requirements import (
    TRANSFORMER_ENGINE,
    install_transformer_engine,
    installed,
    transformer_engine_misfit,
)

if TYPE_CHECKING:
    from custom_modules.config.schema import TrainingConfig

FP8_RECIPES = {"delayed", "tensorwise", "blockwise"}
INSTALL = "install the `gpu` extra"


@dataclass(frozen=True)
class Software:
    """What of NVIDIA's can be used here."""

    transformer_engine: str | None = None
    """The version; None if it cannot be used."""
    transformer_engine_problem: str = "not installed"
    """Why it cannot."""
    transformer_engine_remedy: str = INSTALL
    """What to do about that."""
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


def choose_kernels(config: TrainingConfig, accelerator: str, software: Software) -> Kernels:
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
            f"{software.transformer_engine_remedy}, or set model.fp8=null to train in bf16"
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
            f"model.transformer_engine=true: it cannot be used ({software.transformer_engine_problem}); "
            f"{software.transformer_engine_remedy}, or set model.transformer_engine=auto"
        )
    chosen = available and config.may_use_transformer_engine
    if available and model.transformer_engine == "auto" and not config.has_fused_attention:
        notes.append(_without_fused_attention(config))
    elif not chosen:
        why = "model.transformer_engine=false" if available else software.transformer_engine_problem
        remedy = "set model.transformer_engine=auto" if available else software.transformer_engine_remedy
        notes.append(
            f"no Transformer Engine ({why}): no FP8, no fused norm and linear or rotary embedding, attention block by "
            f"block beyond the window; {remedy}"
        )
    return Kernels(
        transformer_engine=chosen,
        fused_elementwise=True,
        gradient_accumulation_fusion=software.weight_gradient_kernel,
        notes=tuple(notes),
    )


def _without_fused_attention(config: TrainingConfig) -> str:
    """Say what becomes of a run that is not asked to have Transformer Engine, and would have s x s scores with it."""
    model, precision = config.model, config.trainer.precision
    if precision != "bf16-mixed":
        why, remedy = f"trainer.precision={precision}", "set trainer.precision=bf16-mixed"
    else:
        why, remedy = f"a head dim of {model.head_dim}", "set model.kv_channels to a multiple of 8 up to 256"
    if model.fp8:
        return f"Transformer Engine's attention is not fused ({why}), and has a matrix of s x s; {remedy}"
    return (
        f"no Transformer Engine ({why}): its attention would not be fused, and need a matrix of s x s; {remedy} to "
        "have it"
    )


@functools.cache
def find_software(accelerator: str) -> Software:
    """Look, and import what is there. On a CPU nothing is imported: see `custom_modules.platform.megatron`."""
    apex = find_apex()
    apex_problem = f"{apex.found}; {apex.remedy}" if apex and apex.remedy else None
    if accelerator == "cpu":
        return Software(apex_problem=apex_problem)
    version, problem, remedy = _transformer_engine()
    return Software(
        transformer_engine=None if problem else version,
        transformer_engine_problem=problem or "",
        transformer_engine_remedy=remedy,
        fp8_problems={} if problem else _fp8_problems(),
        apex_problem=apex_problem,
        weight_gradient_kernel=_has_weight_gradient_kernel(),
    )


def kernels_here(config: TrainingConfig, accelerator: str) -> Kernels:
    """`choose_kernels` by what is installed.

    Raises:
        UserError: as there.
    """
    return choose_kernels(config, accelerator, find_software(accelerator))


def _transformer_engine() -> tuple[str, str | None, str]:
    """Return its version, why it cannot be used (None if it can), and what to do about that.

    One that does not fit megatron-core is not imported, as far as its version is known without.
    """
    version = installed(TRANSFORMER_ENGINE) or ""
    problem = transformer_engine_misfit(version) if version else None
    if problem is None:
        try:
            import torch  # noqa: F401  (it knows where pip has put NCCL, which Transformer Engine needs and does not find)
            import transformer_engine
            import transformer_engine.pytorch
        except ModuleNotFoundError as error:
            absent = error.name == "transformer_engine"
            return "", "not installed" if absent else f"not importable: {error}", INSTALL
        except (ImportError, OSError, RuntimeError) as error:
            return "", f"not importable: {' '.join(str(error).split())}", INSTALL
        version = str(transformer_engine.__version__)
        problem = transformer_engine_misfit(version)
    return version, problem, _install_one_that_fits() if problem else INSTALL


def _install_one_that_fits() -> str:
    import torch

    return install_transformer_engine(torch.version.cuda)


def _fp8_problems() -> dict[str, str]:
    from transformer_engine.pytorch import is_fp8_available, is_fp8_block_scaling_available

    per_tensor, blockwise = is_fp8_available(return_reason=True), is_fp8_block_scaling_available(return_reason=True)
    answers = {"delayed": per_tensor, "tensorwise": per_tensor, "blockwise": blockwise}
    return {recipe: reason for recipe, (possible, reason) in answers.items() if not possible}


def _has_weight_gradient_kernel() -> bool:
    try:
        import fused_weight_gradient_mlp_cuda  # noqa: F401
    except ImportError:
        return False
    return True
