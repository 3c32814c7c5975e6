"""Makes a config of ours of one that has keys of NeMo's, and says what became of them."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from custom_modules.config.marks import known_keys
from custom_modules.config.nemo.fates import Fate, NemoKey, Outcome
from custom_modules.config.nemo.settings import Refused, Settings, as_value
from custom_modules.config.nemo.table import find, is_known
from custom_modules.config.schema import Config, RunConfig
from custom_modules.errors import UserError
from custom_modules.text import as_yaml, flatten


def translate(
    plain: Mapping[str, Any], kind: type[RunConfig], given: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    """Put keys of ours in the place of NeMo's.

    Args:
        plain: a composed config, from whatever files and overrides.
        kind: the class of the config. One that is no pre-training takes over what has a key there, and no more.
        given: the keys of the command line, which a translation must not contradict.

    Returns:
        The config without NeMo's keys, and a line for each that was translated or that nothing reads.

    Raises:
        UserError: a value that cannot be had here, with what to do.
    """
    changed: dict[str, Any] = copy.deepcopy(dict(plain))
    settings = Settings(changed)
    lines: list[str] = []
    said_by: dict[str, tuple[str, Any]] = {}
    for key, value, entry in sorted(_foreign(plain, kind), key=lambda found: found[2].order):
        outcome = _read(key, value, entry, settings)
        if entry.fate is not Fate.SAME:
            settings.take_out(key)
        for target, put in outcome.put.items():
            other = said_by.get(target, (target, settings.get(target)) if target in given and target != key else None)
            if other is not None and as_value(other[1]) != put:
                said = f"{other[0]}={as_yaml(other[1])}"
                raise UserError(
                    f"{key}={as_yaml(value)}: is {target}={as_yaml(put)} here, and {said} is given too; give one"
                )
            said_by[target] = (key if target != key else target, put)
            settings.put(target, put)
        lines += _line(key, value, outcome)
    for key in _empty_sections(changed):
        if not issubclass(kind, Config) or key in known_keys(kind) or not is_known(key):
            continue
        settings.take_out(key)
    return changed, lines


def _foreign(plain: Mapping[str, Any], kind: type[RunConfig]) -> Iterator[tuple[str, Any, NemoKey]]:
    """Yield NeMo's keys in a config with their values, and the keys of ours that NeMo has, too."""
    own = set(known_keys(kind))
    for key, value in flatten(plain):
        entry = find(key)
        if entry is None or (entry.fate is not Fate.SAME and key in own):
            continue
        if issubclass(kind, Config) or (entry.targets and own.issuperset(entry.targets)):
            yield key, value, entry


def _empty_sections(plain: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in list(plain.items()):
        if isinstance(value, Mapping):
            yield from _empty_sections(value, f"{prefix}{name}.") if value else (prefix + name,)


def _read(key: str, value: Any, entry: NemoKey, settings: Settings) -> Outcome:
    if entry.null_says_nothing and as_value(value) is None:
        return Outcome({})
    try:
        return entry.read(value, settings)
    except Refused as error:
        raise UserError(f"{key}={as_yaml(value)}: {error}") from None


def _line(key: str, value: Any, outcome: Outcome) -> Iterator[str]:
    put = ", ".join(f"{target}={as_yaml(each)}" for target, each in outcome.put.items())
    if put and outcome.note:
        yield f"{key}={as_yaml(value)}: {put} ({outcome.note})"
    elif put or outcome.note:
        yield f"{key}={as_yaml(value)}: {put or outcome.note}"
