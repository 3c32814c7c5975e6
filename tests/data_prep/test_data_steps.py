"""The table of data steps: the config, base.yaml and the code go by it, and its options are those of the code."""

from __future__ import annotations

import inspect
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
import yaml
from annotated_types import Interval, MinLen, Predicate

from custom_modules.config.schema import StepsConfig
from custom_modules.data_steps.kinds import Called, From, Needed
from custom_modules.data_steps.step import REQUIRED, DataStep
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError
from data_prep.across.meaning import Prototypes, SemDedup
from data_prep.clean.build import STEPS, build_steps
from data_prep.steps.library_filter import LibraryFilter, library_class
from tests.support.commands import run_danube

NAMES = [step.name for step in DATA_STEPS]
ROOT = Path(__file__).resolve().parents[2]


def plain(value: Any) -> Any:
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def parameters(code: Any, but: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    for name, parameter in inspect.signature(code).parameters.items():
        if parameter.kind != parameter.VAR_KEYWORD and name not in but:
            yield name, REQUIRED if parameter.default is parameter.empty else plain(parameter.default)


def options_of_code(name: str) -> dict[str, Any]:
    """What the step's code, or the library behind it, takes, with its defaults."""
    code = STEPS[name]
    assert isinstance(code, type)
    if name == "minhash":
        from datatrove.pipeline.dedup.minhash import MinhashConfig

        return dict(parameters(MinhashConfig, frozenset(("norm_config", "hash_config"))))
    if issubclass(code, SemDedup | Prototypes):
        return dict(parameters(code.takes))
    own = dict(parameters(code))
    takes_any = any(one.kind == one.VAR_KEYWORD for one in inspect.signature(code).parameters.values())
    if takes_any and issubclass(code, LibraryFilter):
        own |= parameters(library_class(code.filter_class), code.not_offered)
    return own


def test_config_base_and_code_have_the_steps_of_the_table_in_its_order() -> None:
    base = yaml.safe_load((ROOT / "nemo_configs/base.yaml").read_text())["data"]["steps"]
    assert list(base) == NAMES and set(base.values()) == {None}
    assert list(StepsConfig.model_fields) == NAMES
    assert list(STEPS) == NAMES
    for name, code in STEPS.items():
        assert getattr(code, "name", None) == name


def test_steps_that_look_at_the_corpus_come_last() -> None:
    looks_at = [step.looks_at for step in DATA_STEPS]
    assert looks_at == sorted(looks_at, key=("document", "corpus").index)


@pytest.mark.parametrize("step", DATA_STEPS, ids=NAMES)
def test_options_and_defaults_are_those_of_the_code_and_of_the_installed_library(step: DataStep) -> None:
    code = options_of_code(step.name)
    assert set(step.option_names) == set(code)
    for option in step.options:
        if option.default is REQUIRED and code[option.name] is None:
            with pytest.raises(UserError, match=rf"data\.steps\.{step.name}\.{option.name}=null: "):
                build_steps({step.name: {}})
        else:
            assert plain(option.default) == code[option.name], option.name
            assert type(plain(option.default)) is type(code[option.name]), option.name


@pytest.mark.parametrize("step", DATA_STEPS, ids=NAMES)
def test_an_unknown_option_is_refused_by_name(step: DataStep) -> None:
    with pytest.raises(UserError, match=rf"data\.steps\.{step.name}\.qqq=1: "):
        build_steps({step.name: {"qqq": 1}})


NUMBERS: list[Any] = [-2, -1, 0, 1, 3, 10**12, 0.5, 1.5, -0.5, 1e5, math.nan, math.inf]
LISTS: list[Any] = [[], ["a"], [""], [5], [[3, 0.1]], [[0, 0.1]], [[3, 7.0]], [["a", 1]], [[3]]]
PROBES: list[Any] = [*NUMBERS, *LISTS, None, True, "abc", "", "5", "/one/path", "cpu", "regex", {}, {"a": 1}]


def is_of(kind: Any, value: Any) -> bool:
    """Whether an annotation's values have this one among them, read without pydantic."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return is_of(arguments[0], value) and all(holds(mark, value) for mark in arguments[1:])
    if origin in (Union, UnionType):
        return any(is_of(one, value) for one in arguments)
    if origin is Literal:
        return value in arguments
    if origin is tuple:
        if not isinstance(value, list):
            return False
        if arguments[-1] is Ellipsis:
            return all(is_of(arguments[0], item) for item in value)
        return len(value) == len(arguments) and all(map(is_of, arguments, value))
    if kind is int and isinstance(value, float):
        return value.is_integer()
    if kind is float and type(value) is int:
        return True
    assert kind in (NoneType, bool, int, float, str), f"{kind}: say here what it means"
    return type(value) is kind


def holds(mark: Any, value: Any) -> bool:
    match mark:
        case Interval():
            above = (mark.ge is None or value >= mark.ge) and (mark.gt is None or value > mark.gt)
            return above and (mark.le is None or value <= mark.le) and (mark.lt is None or value < mark.lt)
        case MinLen():
            return len(value) >= mark.min_length
        case Predicate():
            return bool(mark.func(value))
        case Called() | Needed() | From():
            return True
    raise AssertionError(f"{mark}: say here what it means")


@pytest.mark.parametrize("step", DATA_STEPS, ids=NAMES)
def test_a_value_of_another_type_or_out_of_range_is_refused_with_the_key_in_full(step: DataStep) -> None:
    needed = [option for option in step.options if option.default is REQUIRED]
    required = {option.name: "nowhere" if is_of(option.kind, "nowhere") else ["nowhere"] for option in needed}
    for option in step.options:
        for value in PROBES:
            key = f"data.steps.{step.name}.{option.name}="
            refused = ""
            try:
                build_steps({step.name: {**required, option.name: value}})
            except UserError as error:
                refused = str(error)
            assert "\n" not in refused
            how = f"make it with `{option.made_by}`" if option.made_by else f"bring {option.yours}"
            if (option.made_by or option.yours) and option in step.lacking({option.name: value}):
                assert refused.startswith(
                    f"data.steps.{step.name}.{option.name}: not set; {how}; or leave the step out"
                )
            elif not is_of(option.kind, value):
                assert refused.startswith(key) and ": must be " in refused, (key, value, refused)
            else:
                assert not (refused.startswith(key) and ": must be " in refused), (key, value, refused)


@pytest.mark.parametrize("step", DATA_STEPS, ids=NAMES)
def test_every_number_has_a_range_and_every_default_is_in_it(step: DataStep) -> None:
    for option in step.options:
        numbers = [word for word in re.findall(r"\w+", option.type) if word in ("int", "float")]
        ranges = re.findall(r"(?:int|float) (?:from|above)|(?:int|float), below", option.type)
        assert len(numbers) == len(ranges), f"{step.name}.{option.name}: {option.type}"
        assert option.default is REQUIRED or is_of(option.kind, plain(option.default)), option.name


def test_the_table_needs_no_large_library() -> None:
    code = "import sys, custom_modules.data_steps.find; print(*sys.modules)"
    names = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"datatrove", "torch", "numpy", "pydantic", "data_prep"} & set(names)


def test_help_steps_says_all_of_every_step() -> None:
    done = run_danube("prepare", "--help-steps")
    assert done.returncode == 0, done.stderr
    page = done.stdout
    sections = page.split("\n\n")[1:]
    assert len(sections) == len(DATA_STEPS)
    for step, section in zip(DATA_STEPS, sections, strict=True):
        head, where, *options = section.splitlines()
        assert head == f"{step.name}: {step.what}"
        assert step.source in where
        for option, line in zip(step.options, options, strict=False):
            name, rest = line.split(maxsplit=1)
            assert name == option.name and rest.startswith(option.type)
            assert "needed" in rest if option.default is REQUIRED else "default " in rest
            assert option.made_by in rest and option.yours in rest and option.source in rest
        assert len(options) == max(len(step.options), 1)
