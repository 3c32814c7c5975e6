"""Hydra composes the config from ``nemo_configs/`` (or a folder of the user's); pydantic checks every key and type."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from custom_modules.config.checks import check_contradictions
from custom_modules.config.marks import known_keys
from custom_modules.config.quoting import why_not_taken
from custom_modules.config.schema import Config, RunConfig
from custom_modules.errors import UserError
from custom_modules.text import as_yaml

_BRANCH = re.compile(r"str|bool|(list|function-after)\[.*\]")
"""What pydantic puts into a place for a branch of a union."""

CONFIG_DIR = Path(__file__).resolve().parents[2] / "nemo_configs"

_ELSEWHERE = {
    "model.global_batch_size": "the batch is in tokens: set model.global_batch_tokens, or a stage's own",
    "trainer.max_steps": "durations are in tokens: set curriculum.stages.<stage>.tokens",
    "trainer.max_epochs": "durations are in tokens: set curriculum.stages.<stage>.tokens, or data.max_epochs",
    "trainer.log_every_n_steps": "intervals are in tokens: set trainer.log_every_n_tokens",
    "trainer.val_check_interval": "intervals are in tokens: set trainer.val_every_n_tokens",
    "trainer.limit_val_batches": "intervals are in tokens: set trainer.limit_val_tokens",
    "trainer.gradient_clip_val": "set model.optim.clip_grad",
    "model.optim.sched.warmup_steps": "the clock counts tokens: set model.optim.sched.warmup_tokens",
    "model.max_position_embeddings": "it is the longest stage's curriculum.stages.<stage>.encoder_seq_length",
    "model.data.data_prefix": "set data.dir, where `danube prepare` wrote",
    "model.recompute_granularity": "set model.activations_checkpoint_granularity",
    "model.recompute_method": "set model.activations_checkpoint_method",
    "model.recompute_num_layers": "set model.activations_checkpoint_num_layers",
    "model.window_size": "set model.sliding_window: tokens that a token sees, itself included",
}


Kind = TypeVar("Kind", bound=RunConfig)


@overload
def load_config(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> Config: ...
@overload
def load_config(
    name: str, overrides: Sequence[str] = (), config_dir: Path | None = None, *, kind: type[Kind]
) -> Kind: ...
def load_config(
    name: str,
    overrides: Sequence[str] = (),
    config_dir: Path | None = None,
    *,
    kind: type[RunConfig] = Config,
) -> RunConfig:
    """Compose, check and freeze one config.

    Args:
        name: a file of the config folder, without ``.yaml``.
        overrides: ``key=value`` in Hydra's grammar, as on NeMo's command line.
        config_dir: another folder to look for ``name`` in; its files may name ours in ``defaults``.
        kind: the class of the config, which says what keys a run of its kind has; pre-training's unless given.

    Raises:
        UserError: an unknown name or key, a value of the wrong type, or a contradiction; one line.
    """
    return validate(compose(name, overrides, config_dir, kind), kind=kind)


def compose(
    name: str, overrides: Sequence[str] = (), config_dir: Path | None = None, kind: type[RunConfig] = Config
) -> dict[str, Any]:
    """Return what Hydra makes of the files and overrides, as plain values."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder = (config_dir or CONFIG_DIR).resolve()
    name = name.removesuffix(".yaml")
    if not (folder / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in folder.glob("*.yaml") if path.stem != "base")
        raise UserError(f"--config-name {name}: no {name}.yaml in {folder}; there are: {', '.join(known) or 'none'}")
    search = [f"hydra.searchpath=[file://{CONFIG_DIR}]"] if folder != CONFIG_DIR else []
    try:
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = hydra_compose(name, overrides=[*search, *map(_forced, overrides)])
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        raise _explain(error, overrides, kind) from None
    assert isinstance(plain, dict)
    return {str(key): value for key, value in plain.items()}


@overload
def validate(plain: Mapping[str, Any]) -> Config: ...
@overload
def validate(plain: Mapping[str, Any], *, kind: type[Kind]) -> Kind: ...
def validate(plain: Mapping[str, Any], *, kind: type[RunConfig] = Config) -> RunConfig:
    """Check keys, types and contradictions of a kind's config.

    Raises:
        UserError: naming the key, its value and what would work.
    """
    try:
        config = kind.model_validate(plain)
    except ValidationError as error:
        raise UserError(_first_problem(error, kind)) from None
    check_contradictions(config)
    return config


def with_defaults(plain: Mapping[str, Any]) -> dict[str, Any]:
    """A config written before some keys existed, with what ``base.yaml`` gives them."""
    from omegaconf import OmegaConf

    base = OmegaConf.load(CONFIG_DIR / "base.yaml")
    merged = OmegaConf.to_container(OmegaConf.merge(base, dict(plain)), resolve=True)
    assert isinstance(merged, dict)
    return {str(key): value for key, value in merged.items()}


def _forced(override: str) -> str:
    """Let Hydra set any key, so that pydantic alone judges which ones exist: some optional keys are in no file."""
    key = override.partition("=")[0]
    bare = key.lstrip("+")
    return f"++{bare}{override[len(key) :]}" if "." in bare and not bare.startswith(("~", "hydra.")) else override


def _nearest(key: str, kind: type[RunConfig]) -> str:
    keys = list(known_keys(kind))
    advice = _ELSEWHERE.get(key, "")
    if set(keys).intersection(re.findall(r"[\w.<>]+\w>?", advice)):
        return advice
    parts = key.split(".")
    if len(parts) > 2 and parts[:2] == ["curriculum", "stages"]:
        keys = [known.replace("<stage>", parts[2]) for known in keys]
    by_leaf = sorted((known for known in keys if known.rsplit(".", 1)[-1] == parts[-1]), key=len)
    close = by_leaf or difflib.get_close_matches(key, keys, n=1, cutoff=0.4)
    if close:
        return f"did you mean {close[0]}?"
    return "see nemo_configs/base.yaml for every key" if kind is Config else f"there are: {', '.join(keys)}"


def _explain(error: Exception, overrides: Sequence[str], kind: type[RunConfig]) -> UserError:
    from omegaconf.errors import InterpolationKeyError

    message = " ".join(str(error).split())
    if not_taken := why_not_taken(overrides):
        return UserError(not_taken)
    if isinstance(error, InterpolationKeyError):
        return UserError(f"{error.full_key}: {str(error).splitlines()[0]}; name an existing key in full, as model.seed")
    for override in overrides:
        key, _, value = override.partition("=")
        key = key.lstrip("+~")
        if f"'{key}'" in message or f"key: {key}" in message.lower() or message.endswith(key):
            return UserError(f"{key}={value}: no such key; {_nearest(key, kind)}")
    return UserError(message)


def _first_problem(error: ValidationError, kind: type[RunConfig]) -> str:
    problem = error.errors(include_url=False)[0]
    key = ".".join(part for part in map(str, problem["loc"]) if not _BRANCH.fullmatch(part))
    value = as_yaml(problem.get("input"))
    if problem["type"] == "extra_forbidden":
        return f"{key}={value}: no such key; {_nearest(key, kind)}"
    if problem["type"] == "missing":
        return f"{key}: not set; every recipe must give it"
    if value == "???":
        return f"{key}: not set; give it in the recipe or as {key}=VALUE"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{key}={value}: {reason[0].lower()}{reason[1:]}"
