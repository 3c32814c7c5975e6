"""A run of `pretrain` in this process that notes which keys of its config are read: ``reads.py OUTPUT OVERRIDE...``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.sections import Section
from custom_modules.platform.megatron import import_megatron
from custom_modules.training.signals import stop_requests


def sections(section: Section, prefix: str = "") -> Iterator[tuple[int, str]]:
    yield id(section), prefix
    for name in type(section).model_fields:
        value = section.__dict__[name]
        if isinstance(value, Section):
            yield from sections(value, f"{prefix}{name}.")


def note_reads(config: Config) -> set[str]:
    """Return a set to which every key is added once something reads it."""
    prefixes, reads = dict(sections(config)), set()

    def read(self: Section, name: str) -> object:
        if name in type(self).model_fields and id(self) in prefixes:
            reads.add(prefixes[id(self)] + name)
        return super(Section, self).__getattribute__(name)

    Section.__getattribute__ = read  # type: ignore[method-assign, assignment]
    return reads


if __name__ == "__main__":
    config = load_config("danube_rehearsal", sys.argv[2:])
    import_megatron("cpu")
    from custom_modules.training.pretrain import pretrain

    reads = note_reads(config)
    with stop_requests() as stop:
        pretrain(config, stop)
    Path(sys.argv[1]).write_text(json.dumps(sorted(reads)))
