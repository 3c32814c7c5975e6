"""Suites: which tasks, at how many shots, by which metric. A YAML file of ours, or a user's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from custom_modules.errors import UserError
from custom_modules.files import readable

_FOLDER = Path(__file__).with_name("suites")
_ITEMS = ".jsonl"
_FILES = (".yaml", ".yml", _ITEMS)

ALL = "all"
"""The name that stands for every suite of ours."""

ProtocolName = Literal["paper", "current"]
"""``paper``: every prompt and every count as in the harness that the reports' figures are from; ``current``: the
library's tasks as they are."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(_Part):
    """A task of a suite, or a file of a user's own items."""

    task: str
    num_fewshot: int = Field(default=0, ge=0)
    """Examples in front of each question."""
    metric: Literal["acc", "acc_norm", "mc2", "exact_match"]
    """What its figure in the table is."""
    reported_num_fewshot: int | None = None
    """What the report says where it cannot have been so."""
    file: Path | None = None
    """Own items as JSON lines; in YAML relative to the suite's file. None: a task of the library."""

    @model_validator(mode="after")
    def _own_items_have_no_examples(self) -> Entry:
        if self.file and self.num_fewshot:
            raise ValueError("num_fewshot: own items have their examples in their contexts; leave it out")
        if self.file and self.metric not in ("acc", "acc_norm"):
            raise ValueError("metric: of own items acc or acc_norm")
        return self


class Average(_Part):
    """A mean that the table shows."""

    name: str
    tasks: tuple[str, ...] = Field(min_length=1)


class _File(_Part):
    title: str
    protocol: ProtocolName = "paper"
    tasks: tuple[Entry, ...] = Field(min_length=1)
    averages: tuple[Average, ...] = ()

    @model_validator(mode="after")
    def _names_are_known(self) -> _File:
        names = [entry.task for entry in self.tasks]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"tasks: {name} is there twice; leave one out")
        for average in self.averages:
            for name in average.tasks:
                if name not in names:
                    raise ValueError(f"averages: {name} is no task of the suite; there are: {', '.join(names)}")
        return self


class Suite(_Part):
    """What `load_suite` returns."""

    name: str
    """Its file's name without the suffix."""
    title: str
    """Such as ``Danube, Table 1``."""
    protocol: ProtocolName
    entries: tuple[Entry, ...]
    """In the table's order."""
    averages: tuple[Average, ...]
    """Those that the table shows, in its order."""


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that come with the project."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_suite(name_or_path: str | Path) -> Suite:
    """Read a suite of ours by its name, a YAML file of the same form, or a ``.jsonl`` file of own items.

    Raises:
        UserError: there is none of that name, or the file is not a suite; the key is named.
    """
    path = Path(name_or_path)
    if path.suffix not in _FILES:
        ours = _FOLDER / f"{name_or_path}.yaml"
        if str(name_or_path) not in (names := suite_names()):
            raise UserError(
                f"--suite {name_or_path}: no such suite; give one of {', '.join(names)}, a YAML file, or own items as "
                f"{_ITEMS}"
            )
        path = ours
    elif path.suffix == _ITEMS:
        entry = Entry(task=path.stem, metric="acc", file=path)
        return Suite(name=path.stem, title=path.name, protocol="current", entries=(entry,), averages=())
    with readable(path):
        content = path.read_bytes()
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> Suite:
    try:
        plain: Any = yaml.safe_load(content)
        read = _File.model_validate(plain)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML ({' '.join(str(error).split())}); put that right") from None
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        said = first["msg"].removeprefix("Value error, ")
        raise UserError(f"{path}: {where + ': ' if where else ''}{said}; put that right") from None
    entries = tuple(
        entry.model_copy(update={"file": path.parent / entry.file}) if entry.file else entry for entry in read.tasks
    )
    return Suite(name=path.stem, title=read.title, protocol=read.protocol, entries=entries, averages=read.averages)
