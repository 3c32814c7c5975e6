"""``{}`` for a mapping by name empties it, in a file or on the command line.

Hydra merges a mapping into the one of the defaults before it, so that an empty one would change nothing, in silence:
a recipe of its own that says ``teachers: {}`` would train with its parent's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

BY_NAME = ("distillation.teachers", "data.sources", "data.steps", "curriculum.stages", "curriculum.stages.*.mix")
"""Mappings whose keys are names that a recipe gives or turns on. In any other an empty one says nothing: defaults."""

Layer = Mapping[str, Any]
"""What one file or override says, as nested mappings."""


def empty(plain: dict[str, Any], layers: Sequence[Layer]) -> None:
    """Take out of a composed config what stands in a mapping by name from before a layer that empties it.

    What a later layer names stays. A step of ``data.steps`` is off in the place of being absent.

    Args:
        plain: what Hydra made of the layers; changed.
        layers: in the order in which they were merged.
    """
    for key, value in [found for pattern in BY_NAME for found in _mappings(plain, pattern)]:
        named: set[str] = set()
        for layer in reversed(layers):
            here = _at(layer, key)
            if here == {}:
                for name in value.keys() - named:
                    if key == "data.steps":
                        value[name] = None
                    else:
                        del value[name]
                break
            named |= here.keys() if isinstance(here, Mapping) else set()


def layers_of(file: Path, search: Sequence[Path], overrides: Sequence[str]) -> list[Layer]:
    """Return what a config is merged of: its defaults, itself and the command line.

    Args:
        file: the YAML file of the config.
        search: folders in which its defaults are.
        overrides: that Hydra has taken.
    """
    return [*_files(file, search, frozenset()), *map(_override, overrides)]


def _files(file: Path, search: Sequence[Path], above: frozenset[Path]) -> Iterator[Layer]:
    from omegaconf import OmegaConf

    content = OmegaConf.to_container(OmegaConf.load(file))
    if not isinstance(content, dict) or file in above:
        return
    defaults = content.pop("defaults", [])
    layer = {str(key): value for key, value in content.items()}
    for entry in defaults if "_self_" in defaults else [*defaults, "_self_"]:
        if entry == "_self_":
            yield layer
            continue
        name = entry if isinstance(entry, str) else "/".join(f"{group}/{option}" for group, option in entry.items())
        found = (folder / f"{str(name).split('@')[0].strip('/')}.yaml" for folder in search)
        if path := next((path for path in found if path.is_file()), None):
            yield from _files(path, search, above | {file})


def _override(override: str) -> Layer:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_delete():
        return {}
    plain: Any = parsed.value()
    for name in reversed(parsed.key_or_group.split(".")):
        plain = {name: plain}
    return plain if isinstance(plain, dict) else {}


def _at(layer: Layer, key: str) -> object:
    here: object = layer
    for name in key.split("."):
        if not isinstance(here, Mapping):
            return None
        here = here.get(name)
    return here


def _mappings(plain: Mapping[str, Any], pattern: str, above: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the mappings that a dotted pattern means, with their keys."""
    first, _, rest = pattern.partition(".")
    for name, value in list(plain.items()):
        if fnmatchcase(name, first) and isinstance(value, dict):
            if rest:
                yield from _mappings(value, rest, f"{above}{name}.")
            else:
                yield f"{above}{name}", value
