"""The steps that a recipe names: what the user makes for them is asked for by `prepare` alone, and the card has all."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.data_steps.table import DATA_STEPS
from custom_modules.errors import UserError
from custom_modules.plan.plan import build_plan
from data_prep.only import run_step
from data_prep.output.recipe_rows import step_rows
from data_prep.prepare import run

MODELS = {"gbm_quality": "gbm", "encoder_quality": "encoder"}


@pytest.fixture
def danube2(tmp_path: Path, write_jsonl: Callable[..., Path]) -> Callable[..., Config]:
    text = write_jsonl(tmp_path / "a.jsonl", ["A text."])
    sources = ["web", "instruct", "wikipedia", "academic", "other"]
    given = [f"data.sources.{name}={tmp_path / name}.jsonl" for name in sources]
    for name in sources:
        (tmp_path / f"{name}.jsonl").write_bytes(text.read_bytes())
    return lambda *overrides: load_config("danube2", [*given, f"data.dir={tmp_path / 'data'}", *overrides])


def refusal(call: Callable[[], object]) -> str:
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_prepare_asks_for_both_models_in_one_line_with_both_ways_on(
    danube2: Callable[..., Config], tmp_path: Path
) -> None:
    message = refusal(lambda: run(danube2()))
    assert not (tmp_path / "data").exists()
    for step, kind in MODELS.items():
        assert f"data.steps.{step}.model" in message
        assert f"`danube train-quality {kind} FOLDER --good DIR --raw DIR`" in message
        assert f"data.steps.{step}=null" in message
    left_out = refusal(lambda: run(danube2("data.steps.gbm_quality=null")))
    assert "gbm" not in left_out and "data.steps.encoder_quality.model: not set" in left_out
    nowhere = refusal(lambda: run(danube2("data.steps.gbm_quality=null", "data.steps.encoder_quality.model=/none")))
    assert (
        nowhere.startswith("data.steps.encoder_quality.model=/none: ") and "data.steps.encoder_quality=null" in nowhere
    )


@pytest.mark.parametrize("given", ["null", "???", "''"])
def test_no_model_is_no_model_however_it_is_written(danube2: Callable[..., Config], given: str) -> None:
    config = danube2("data.steps.gbm_quality=null", f"data.steps.encoder_quality.model={given}")
    assert "danube train-quality encoder" in refusal(lambda: run(config))


def test_a_step_alone_asks_for_what_it_needs_itself(danube2: Callable[..., Config]) -> None:
    assert "train-quality gbm" in refusal(lambda: run_step(danube2(), "gbm_quality"))
    run_step(danube2("data.steps.fineweb_quality.words=regex"), "fineweb_quality")


def test_nothing_else_asks(danube2: Callable[..., Config]) -> None:
    assert build_plan(danube2()).name == "danube2"


def test_an_unknown_option_is_named_before_a_model_is_asked_for(danube2: Callable[..., Config]) -> None:
    message = refusal(lambda: run(danube2("data.steps.gbm_quality.treshold=0.5")))
    assert message.startswith("data.steps.gbm_quality.treshold=0.5: ") and "threshold" in message


def test_the_card_names_every_step_with_its_options_or_as_left_out(
    make_config: Callable[..., Config],
    make_texts: Callable[..., list[str]],
    tmp_path: Path,
    write_jsonl: Callable[..., Path],
) -> None:
    text = write_jsonl(tmp_path / "a.jsonl", make_texts(30))
    config = make_config(text, "data.steps.exact={}")
    run(config)
    card = (Path(config.data.dir) / "data_card.md").read_text()
    said = dict(re.findall(r"^\| (\w+) \| .+ \| ([^|]+) \|$", card.partition("## Steps")[2].partition("##")[0], re.M))
    left_out = {step.name: "left out" for step in DATA_STEPS}
    assert said == {"step": said["step"], **left_out, "exact": "its defaults"}
    rows = {name: given for name, _, given in step_rows(load_config("danube2"))}
    assert rows["gbm_quality"] == "{model: ???, keep_quantile: 0.8}"
