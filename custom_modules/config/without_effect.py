"""Keys that were given another value than ``base.yaml`` has, and that nothing in this run reads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from custom_modules.config.distillation import DistillationConfig
from custom_modules.config.kinds import AS_PRETRAINED, config_kind
from custom_modules.config.load import base_values
from custom_modules.config.precision import DELAYED_SCALING
from custom_modules.config.recompute import stage_recompute
from custom_modules.config.schema import Config, PreparedDataConfig, TrainingConfig
from custom_modules.text import as_yaml

PREPARING = "data."
_READ_IN_TRAINING = tuple(f"{PREPARING}{key}" for key in PreparedDataConfig.model_fields)


def without_effect(config: TrainingConfig) -> Iterator[str]:
    """Yield a line for each key that training does not read, with the reason.

    A key whose value would have to change the result is refused instead: see `custom_modules.config.checks`.
    """
    given = dict(_given(config))
    for keys, why in RULES:
        reason = why(config)
        yield from (
            f"{key}={as_yaml(given[key])}: without effect in this run: {reason}"
            for key in keys
            if reason and key in given
        )


def only_prepared_with(config: TrainingConfig) -> Iterator[str]:
    """Yield one line of all keys that only preparing data reads."""
    keys = [key for key, _ in _given(config) if key.startswith(PREPARING) and not _is_in(key, _READ_IN_TRAINING)]
    sections = dict.fromkeys(".".join(key.split(".")[:3]) for key in keys)
    if sections:
        yield f"{', '.join(sections)}: without effect in this run: `danube prepare` alone reads how text becomes data"


def without_effect_in_preparing(config: Config) -> Iterator[str]:
    """Yield a line for each key of preparing data that it does not read, with the reason."""
    given = dict(_given(config))
    for keys, why in PREPARE_RULES:
        reason = why(config)
        for key, value in given.items():
            if reason and _is_in(key, keys):
                yield f"{key}={as_yaml(value)}: without effect: {reason}"


def _given(config: TrainingConfig) -> Iterator[tuple[str, Any]]:
    """Yield the keys that have another value than in ``base.yaml``."""
    values = base_values(config.name, config_kind(config))
    base = dict(_leaves({**values, "distillation": DistillationConfig().model_dump(mode="json")}))
    for key, value in _leaves(config.model_dump(mode="json")):
        is_given = value != base.get(key) and base.get(key) != AS_PRETRAINED
        if is_given and not key.startswith("curriculum."):
            yield key, value


def _leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield dotted keys and their values, an empty mapping too: `{}` is a step with its defaults."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value


def _is_in(key: str, sections: tuple[str, ...]) -> bool:
    return any(key == section or key.startswith(f"{section}.") for section in sections)


def _fp8(config: TrainingConfig) -> str | None:
    return None if config.model.fp8 else "model.fp8=null, so no layer is in FP8"


def _bf16_layers(config: TrainingConfig) -> str | None:
    return _fp8(config) or (None if config.model.first_last_layers_bf16 else "model.first_last_layers_bf16=false")


def _context(config: TrainingConfig) -> str | None:
    model = config.model
    if model.context_parallel_size == 1:
        return "model.context_parallel_size=1, so no other device has tokens of a sequence"
    if not config.may_use_transformer_engine or config.trainer.accelerator == "cpu":
        return "the local attention always gathers keys and values"
    return None


def _interleaving(config: TrainingConfig) -> str | None:
    chunks = config.model.virtual_pipeline_model_parallel_size
    return (
        None if chunks else "model.virtual_pipeline_model_parallel_size=null, so messages do not overlap with computing"
    )


def _modules(config: TrainingConfig) -> str | None:
    if any(stage_recompute(config, stage).granularity == "selective" for stage in config.stages):
        return None
    return "no stage has activations_checkpoint_granularity=selective"


def _gradients(config: TrainingConfig) -> str | None:
    model = config.model
    if model.fsdp:
        return "model.fsdp=true, which overlaps them by itself"
    if config.data_parallel_size * model.context_parallel_size == 1:
        return "there is one data-parallel rank"
    return None


def _weights(config: TrainingConfig) -> str | None:
    if config.model.optim.name != "distributed_fused_adam":
        return f"model.optim.name={config.model.optim.name}, so that every rank has all updated weights"
    return _gradients(config)


def _initial(config: TrainingConfig) -> str | None:
    path = config.model.restore_from_path
    return None if path is None else f"the weights are those of model.restore_from_path={path}"


def _positions(config: TrainingConfig) -> str | None:
    kind = config.model.position_embedding_type
    return None if kind == "rope" else f"model.position_embedding_type={kind}, so nothing is rotated"


def _restarts(config: TrainingConfig) -> str | None:
    if not isinstance(config, Config) or not config.data.reset_attention_mask:
        return None
    return "data.reset_attention_mask=true, and within a document nothing depends on more than the distance of tokens"


def _rollbacks(config: TrainingConfig) -> str | None:
    options = config.exp_manager.loss_spike if isinstance(config, Config) else None
    if options is None or options.on_spike == "rollback" or "max_rollbacks" not in options.model_fields_set:
        return None
    return f"exp_manager.loss_spike.on_spike={options.on_spike}, so it never goes back"


def _teachers(config: TrainingConfig) -> str | None:
    distillation = config.teaching
    return None if distillation is None or distillation.teachers else "no teacher is in distillation.teachers"


def _distributions(config: TrainingConfig) -> str | None:
    distillation = config.teaching
    return None if distillation is None or distillation.distributions else "no teacher has targets=top_k"


def _texts(config: TrainingConfig) -> str | None:
    distillation = config.teaching
    return None if distillation is None or distillation.texts else "no teacher has targets=text"


def _generated(config: TrainingConfig) -> str | None:
    return _texts(config) or "`danube teach` alone reads it"


RULES: tuple[tuple[tuple[str, ...], Callable[[TrainingConfig], str | None]], ...] = (
    (("model.fp8_recipe", *(f"model.{key}" for key in DELAYED_SCALING), "model.first_last_layers_bf16"), _fp8),
    (("model.num_layers_at_start_in_bf16", "model.num_layers_at_end_in_bf16"), _bf16_layers),
    (("model.cp_comm_type",), _context),
    (("exp_manager.loss_spike.max_rollbacks",), _rollbacks),
    (("model.overlap_p2p_comm",), _interleaving),
    (("model.recompute_modules",), _modules),
    (("model.optim.overlap_grad_sync",), _gradients),
    (("model.optim.overlap_param_sync",), _weights),
    (("model.init_method_std",), _initial),
    (("model.rotary_base",), _positions),
    (("data.reset_position_ids",), _restarts),
    (("distillation.minimum_over",), _teachers),
    (("distillation.top_k",), _distributions),
    (("distillation.prefix_tokens",), _texts),
    (("distillation.tries",), _generated),
)
"""Keys of training, and what gives the reason why they have no effect, or None where they have."""


def _not_on_slurm(config: Config) -> str | None:
    executor = config.data.executor
    return None if executor == "slurm" else f"data.executor={executor}"


def _has_tokenizer(config: Config) -> str | None:
    path = config.model.tokenizer.model
    return None if path is None else f"model.tokenizer.model={path} is the tokenizer"


PREPARE_RULES: tuple[tuple[tuple[str, ...], Callable[[Config], str | None]], ...] = (
    (("data.slurm",), _not_on_slurm),
    (("data.train_tokenizer",), _has_tokenizer),
)
"""The same of preparing data; a section stands for its keys."""
