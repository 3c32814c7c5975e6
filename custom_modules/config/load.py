"""Hydra composes the config from ``nemo_configs/`` (or a folder of the user's); pydantic checks every key and type."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar, overload

from pydantic import ValidationError

from custom_modules.config.checks import check_contradictions
from custom_modules.config.document_checks import OF_PACKED_DOCUMENTS
from custom_modules.config.emptied import empty, layers_of
from custom_modules.config.kinds import KINDS, PRETRAIN, config_kind, kind_name, with_shape, without_foreign
from custom_modules.config.marks import known_keys
from custom_modules.config.model_parts import ArchitectureConfig
from custom_modules.config.nearest import nearest_key
from custom_modules.config.nemo.fates import Fate
from custom_modules.config.nemo.hydra import register_resolvers, without_hydra
from custom_modules.config.nemo.table import TABLE, is_known
from custom_modules.config.nemo.translate import translate
from custom_modules.config.quoting import why_not_taken
from custom_modules.config.schema import Config, RunConfig, TrainingConfig
from custom_modules.errors import UserError
from custom_modules.text import as_yaml, flatten, say_once

_BRANCH = re.compile(r"str|bool|(list|function-after)\[.*\]")
"""What pydantic puts into a place for a branch of a union."""

_MISPLACED = re.compile(r"Error merging override \+*(.+)")
_NOT_THERE = re.compile(r"Could not delete from config. '(.+)' does not exist")

CONFIG_DIR = Path(__file__).resolve().parents[2] / "nemo_configs"

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
        overrides: ``key=value`` in Hydra's grammar, as on NeMo's command line. NeMo's own keys are translated, in
            files too, which is said on stderr.
        config_dir: another folder to look for ``name`` in; its files may name ours in ``defaults``.
        kind: the class of the config, which says what keys a run of its kind has; pre-training's unless given.

    Raises:
        UserError: an unknown name or key, a value of the wrong type, or a contradiction; one line.
    """
    composed = compose(name, overrides, config_dir, kind)
    if kind in KINDS.values() and kind is not KINDS[kind_name(composed)]:
        other = kind_name(composed)
        raise UserError(f"--config-name {name}: a recipe of `danube {other}`, and of no other kind of run")
    return _finish(composed, overrides, config_dir, kind)


def load_any_config(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> RunConfig:
    """Load a config of the kind that the recipe itself is of: see `load_config`."""
    composed = compose(name, overrides, config_dir)
    return _finish(composed, overrides, config_dir, KINDS[kind_name(composed)])


def load_training_config(name: str, overrides: Sequence[str] = (), config_dir: Path | None = None) -> TrainingConfig:
    """Load a config of a kind that trains all weights on megatron-core: see `load_config`.

    Raises:
        UserError: the recipe is of another kind, or as `load_config` does.
    """
    found = load_any_config(name, overrides, config_dir)
    if not isinstance(found, TrainingConfig):
        kinds = [kind for kind, of in KINDS.items() if issubclass(of, TrainingConfig)]
        raise UserError(
            f"--config-name {name}: a recipe of `danube {config_kind(found)}`, and this is for those of "
            f"{' and '.join(f'`danube {kind}`' for kind in kinds)}"
        )
    return found


def _finish(
    composed: Mapping[str, Any], overrides: Sequence[str], config_dir: Path | None, kind: type[RunConfig]
) -> RunConfig:
    """Make a config of a kind of what Hydra made of a recipe."""
    plain = dict(composed)
    if kind.base != RunConfig.base:
        plain = without_foreign(plain, base_values(str(plain.get("name"))), kind)
    if pretrained := plain.get("pretrained"):
        plain = with_shape(plain, _shape_of(str(pretrained), config_dir))
    plain, lines = translate(plain, kind, {_bare(override) for override in overrides})
    for line in lines:
        say_once(line)
    return validate(plain, kind=kind)


def _shape_of(recipe: str, config_dir: Path | None) -> ArchitectureConfig:
    """Return the architecture of another recipe's model.

    Raises:
        UserError: naming the key that named it.
    """
    own = config_dir is not None and (config_dir / f"{recipe.removesuffix('.yaml')}.yaml").is_file()
    try:
        model = load_config(recipe, config_dir=config_dir if own else None).model
    except UserError as error:
        raise UserError(f"pretrained={recipe}: {str(error).removeprefix(f'--config-name {recipe}: ')}") from None
    return ArchitectureConfig.model_validate({key: getattr(model, key) for key in ArchitectureConfig.model_fields})


def compose(
    name: str, overrides: Sequence[str] = (), config_dir: Path | None = None, kind: type[RunConfig] = Config
) -> dict[str, Any]:
    """Return what Hydra makes of the files and overrides, as plain values; Hydra's own keys among them, where given."""
    from hydra import compose as hydra_compose
    from hydra import initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    folder = (config_dir or CONFIG_DIR).resolve()
    name = name.removesuffix(".yaml")
    if not (folder / f"{name}.yaml").is_file():
        known = sorted(path.stem for path in folder.glob("*.yaml") if not path.stem.startswith("base"))
        raise UserError(f"--config-name {name}: no {name}.yaml in {folder}; there are: {', '.join(known) or 'none'}")
    if nameless := next((override for override in overrides if not _bare(override)), None):
        raise UserError(f"{nameless}: no key before the value; write KEY=VALUE")
    overrides, hydra = without_hydra(overrides, folder / f"{name}.yaml")
    search = [f"hydra.searchpath=[file://{CONFIG_DIR}]"] if folder != CONFIG_DIR else []
    try:
        register_resolvers()
        with initialize_config_dir(str(folder), version_base="1.3"):
            composed = hydra_compose(name, overrides=[*search, *map(_forced, overrides)])
        plain = OmegaConf.to_container(composed, resolve=True, throw_on_missing=False)
    except (HydraException, OmegaConfBaseException) as error:
        absent = _NOT_THERE.search(str(error))
        rest = [word for word in overrides if not (absent and word.startswith("~") and _bare(word) == absent[1])]
        if absent and is_known(absent[1]) and len(rest) < len(overrides):
            # A key of NeMo's that no file has is as absent as it is meant to be.
            return compose(name, rest, config_dir, kind)
        raise _explain(error, overrides, kind) from None
    assert isinstance(plain, dict)
    found = {str(key): value for key, value in plain.items()}
    empty(found, layers_of(folder / f"{name}.yaml", [folder, CONFIG_DIR], overrides))
    return {**found, **hydra}


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
    """A config of any kind that was written before some keys existed, with what its base file gives them."""
    from omegaconf import OmegaConf

    kind = KINDS[kind_name(plain)]
    files = [OmegaConf.load(CONFIG_DIR / f"{name}.yaml") for name in dict.fromkeys((RunConfig.base, kind.base))]
    merged = OmegaConf.to_container(OmegaConf.merge(*files, dict(plain)), resolve=True)
    assert isinstance(merged, dict)
    whole = {str(key): value for key, value in merged.items() if key != "defaults"}
    return whole if kind is Config else without_foreign(whole, base_values(str(plain.get("name"))), kind)


def base_values(name: str, kind: str = PRETRAIN) -> dict[str, Any]:
    """What the base file gives the keys of a run of that name; ``???`` for those that a recipe must give."""
    return with_defaults({"name": name} if kind == PRETRAIN else {"name": name, "kind": kind})


def _bare(override: str) -> str:
    """The key of an override, without Hydra's signs."""
    return override.partition("=")[0].lstrip("+~")


def _forced(override: str) -> str:
    """Let Hydra set any key, so that pydantic alone judges which ones exist: some optional keys are in no file."""
    bare = _bare(override)
    signs = override[: override.index(bare)]
    is_mapping = override.partition("=")[2].lstrip().startswith("{")
    may_be_group = "." not in bare and bare not in TABLE and not is_mapping
    if "~" in signs or bare.startswith("hydra.") or may_be_group:
        return override
    return f"++{override[len(signs) :]}"


def _nearest(key: str, kind: type[RunConfig]) -> str:
    if key in OF_PACKED_DOCUMENTS and kind in KINDS.values() and kind is not Config:
        return "each sample has a row of its own, and sees no other; leave it out"
    keys = list(known_keys(kind))
    parts = key.split(".")
    named = (("curriculum.stages", "<stage>"), ("distillation.teachers", "<teacher>"), ("data.sources", "<source>"))
    for section, name in named:
        if len(parts) > 2 and ".".join(parts[:2]) == section:
            keys = [known.replace(name, parts[2]) for known in keys]
    near = nearest_key(key, keys)
    if near is None and issubclass(kind, Config):
        near = nearest_key(key, [name for name, entry in TABLE.items() if entry.fate is not Fate.REFUSED], moved=False)
    if near:
        return f"did you mean {near}?"
    if kind not in KINDS.values():
        return f"there are: {', '.join(keys)}"
    files = " and ".join(f"nemo_configs/{name}.yaml" for name in dict.fromkeys((kind.base, RunConfig.base)))
    return f"see {files} for every key"


def _explain(error: Exception, overrides: Sequence[str], kind: type[RunConfig]) -> UserError:
    from omegaconf.errors import InterpolationKeyError

    message = " ".join(str(error).split())
    if not_taken := why_not_taken(overrides):
        return UserError(not_taken)
    if isinstance(error, InterpolationKeyError):
        return UserError(f"{error.full_key}: {str(error).splitlines()[0]}; name an existing key in full, as model.seed")
    if misplaced := _MISPLACED.fullmatch(message):
        return UserError(f"{misplaced[1]}: the key is of a section; give a key in it, or a mapping, as {{KEY: VALUE}}")
    absent = _NOT_THERE.search(message)
    if absent:
        return UserError(f"~{absent[1]}: no such key; {_nearest(absent[1], kind)}")
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
        inside = problem.get("input")
        for name, each in flatten(inside if isinstance(inside, dict) else {}, f"{key}."):
            return f"{name}={as_yaml(each)}: no such key; {_nearest(name, kind)}"
        return f"{key}={value}: no such key; {_nearest(key, kind)}"
    if problem["type"] == "missing":
        return f"{key}: not set; every recipe must give it"
    if value == "???":
        return f"{key}: not set; give it in the recipe or as {key}=VALUE"
    reason = problem["msg"].removeprefix("Value error, ")
    return f"{key}={value}: {reason[0].lower()}{reason[1:]}"
