"""The table of data steps: the config, base.yaml and the code go by it, and its options are those of the code."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from custom_modules.config.schema import StepsConfig
from custom_modules.data_steps.step import REQUIRED, DataStep
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError
from data_prep.across.meaning import semantic_options
from data_prep.clean.build import STEPS, build_steps
from data_prep.semantic.options import PrototypeOptions, SemDedupOptions
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
    if name == "minhash":
        from datatrove.pipeline.dedup.minhash import MinhashConfig

        return dict(parameters(MinhashConfig, frozenset(("norm_config", "hash_config"))))
    if name in ("semdedup", "prototypes"):
        model = SemDedupOptions if name == "semdedup" else PrototypeOptions
        return {key: REQUIRED if field.is_required() else field.default for key, field in model.model_fields.items()}
    own = dict(parameters(code))
    takes_any = any(one.kind == one.VAR_KEYWORD for one in inspect.signature(code).parameters.values())
    if takes_any and isinstance(code, type) and issubclass(code, LibraryFilter):
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
            assert option.default == code[option.name], option.name
            assert type(option.default) is type(code[option.name]), option.name


@pytest.mark.parametrize("name", ["semdedup", "prototypes"])
def test_the_code_takes_the_defaults_of_the_table(name: str) -> None:
    (step,) = (step for step in DATA_STEPS if step.name == name)
    given = {option.name: option.default for option in step.options} | {"encoder": "folder"}
    assert semantic_options(name, given) == semantic_options(name, {"encoder": "folder"})


@pytest.mark.parametrize("step", DATA_STEPS, ids=NAMES)
def test_an_unknown_option_is_refused_by_name(step: DataStep) -> None:
    with pytest.raises(UserError, match=rf"data\.steps\.{step.name}\.qqq=1: "):
        build_steps({step.name: {"qqq": 1}})


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
            assert option.made_by in rest and option.source in rest
        assert len(options) == max(len(step.options), 1)
