"""What of megatron-core the program stands on: the page says it, and the version that is installed has it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from custom_modules.doctor.megatron_fit import misfits
from custom_modules.doctor.megatron_page import PAGE, with_names
from custom_modules.doctor.megatron_uses import Call, Use, uses
from custom_modules.platform.megatron import import_megatron

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def found() -> dict[str, Use]:
    import_megatron()
    return uses()


def test_the_page_says_what_the_source_asks_for(found: dict[str, Use]) -> None:
    page = PAGE.read_text()
    assert page == with_names(page, found), "python -m custom_modules.doctor.megatron_page"


def test_the_installed_version_has_all_of_it(found: dict[str, Use]) -> None:
    assert [*misfits(found)] == []


def test_nothing_that_is_imported_is_left_out(found: dict[str, Use]) -> None:
    """The text of every import is another way of reading it."""
    for path in (path for folder in ("custom_modules", "data_prep") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("megatron"):
                for alias in node.names:
                    name = f"{node.module}.{alias.name}"
                    assert any(use == name or use.startswith(f"{name}.") for use in found), f"{path}: {name}"


def test_calls_and_members_are_seen_where_they_are(found: dict[str, Use]) -> None:
    """Spot checks, of each way in which a thing is come by."""
    core = "megatron.core."
    model = found[f"{core}models.gpt.GPTModel"]
    assert any("transformer_layer_spec" in call.keywords for call in model.calls), "a choice of two classes"
    assert {"_postprocess", "output_layer", "decoder", "sharded_state_dict"} <= model.members
    assert not {"chunk_size", "_chunk_loss"} & model.members, "of the subclass"
    assert {"step", "zero_grad"} <= found[f"{core}optimizer.MegatronOptimizer"].members, "an attribute of an object"
    assert "zero_grad_buffer" in found[f"{core}distributed.DistributedDataParallel"].members, "of a list returned"
    assert found[f"{core}parallel_state.initialize_model_parallel"].modules == {"custom_modules.platform"}
    assert f"{core}tensor_parallel.random._get_cuda_rng_state" in found, "replaced by its name"


def test_what_is_missing_is_named(found: dict[str, Use]) -> None:
    config = "megatron.core.transformer.transformer_config.TransformerConfig"
    asked = {
        "megatron.core.utils.no_such_thing": Use({"custom_modules.a"}),
        "megatron.core.no_such_module.Thing": Use({"custom_modules.b"}),
        "megatron.core.utils.divide": Use(
            {"custom_modules.c"},
            calls={Call(2, (), False), Call(1, ("denominator",), False), Call(0, ("quotient",), False)},
            calls_by_version={Call(3, (), False), Call(2, (), False)},
        ),
        config: Use({"custom_modules.d"}, members={"num_layers", "no_such_field"}),
    }
    lines = [*misfits(asked)]
    assert lines[0] == "megatron.core.utils.no_such_thing is not there (custom_modules.a)"
    assert lines[1] == "megatron.core.no_such_module.Thing is not there (custom_modules.b)"
    assert lines[2].startswith("megatron.core.utils.divide(quotient=): ") and lines[2].endswith("(custom_modules.c)")
    assert lines[3:] == [f"{config} has no no_such_field (custom_modules.d)"]
    asked["megatron.core.utils.divide"].calls_by_version.remove(Call(2, (), False))
    assert any("divide(_, _, _): too many" in line for line in misfits(asked))


def test_the_class_of_the_model_is_named_once() -> None:
    """The step to another is made there."""
    naming = [
        path.relative_to(ROOT).as_posix()
        for folder in ("custom_modules", "data_prep", "benchmarks", "tests")
        for path in (ROOT / folder).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and any(alias.name == "GPTModel" for alias in node.names)
    ]
    assert naming == ["custom_modules/model/language_model.py"]
