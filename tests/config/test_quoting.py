"""An override that Hydra's grammar does not take is answered with the one that it does."""

from __future__ import annotations

import re
import shlex

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from custom_modules.cli import main
from custom_modules.config.load import load_config
from custom_modules.config.quoting import quoted
from custom_modules.errors import UserError


def refusal(override: str) -> str:
    with pytest.raises(UserError) as caught:
        load_config("danube_rehearsal", [override])
    message = str(caught.value)
    assert "\n" not in message and "multirun" not in message and "++" not in message
    return message


def value_of(key: str, advised: str) -> object:
    """The value of a key where an override is typed into a shell."""
    [override] = shlex.split(advised)
    value: object = load_config("danube_rehearsal", [override])
    for part in key.split("."):
        value = getattr(value, part)
    return value


@pytest.mark.parametrize(
    "value",
    [
        "/a=b",
        "/tëxte/ü",
        "/文本/日本語.jsonl",
        "it's",
        'a "b" c',
        "a\"b'c\\",
        "a#b",
        "(a)",
        "x;y & z",
        "a,é",
        "~/a",
        "a==b,'",
    ],
)
def test_the_quoted_form_of_the_users_own_value(value: str) -> None:
    message = refusal(f"exp_manager.exp_dir={value}")
    assert message.startswith(
        f"exp_manager.exp_dir={value}: put such a value in quotes, and the whole in quotes of the"
    )
    advised = message.split("shell: ", 1)[1].split(", or write ")[0]
    assert value_of("exp_manager.exp_dir", advised) == value


@pytest.mark.parametrize(
    ("value", "means"),
    [
        ("[/ä,/b c,/d=e]", ["/ä", "/b c", "/d=e"]),
        ("[/a (1).txt, '/c,d', \"/é\"]", ["/a (1).txt", "/c,d", "/é"]),
        ("[/ä: b,c:d=e]", ["/ä: b", "c:d=e"]),
    ],
)
def test_in_a_list_each_value_has_its_own_quotes(value: str, means: list[str]) -> None:
    advised = refusal(f"data.input={value}").split("shell: ", 1)[1]
    assert value_of("data.input", advised) == means


def test_in_a_mapping_each_value_has_its_own_quotes() -> None:
    advised = quoted("data.sources={web: [/ä, /b=c], books: /x y}")
    assert advised == shlex.quote('data.sources={web: ["/ä", "/b=c"], books: /x y}')


@pytest.mark.parametrize("value", ["/a,/b", "a b,c", "/a,/ü"])
def test_several_values_are_a_list_or_one_text(value: str) -> None:
    message = refusal(f"data.input={value}")
    listed = re.search(r"write (\S+|'.*?') for a list", message)
    assert listed
    items = value_of("data.input", listed[1])
    assert items == value.split(",")
    text = re.search(r"(?:or write|shell:) ('.*?')(?:$| for one text|, or)", message)
    assert text and value_of("data.input", text[1]) == value


@pytest.mark.parametrize("value", ["choice(a,b)", "range(1,3)", "glob(*)"])
def test_what_hydra_would_sweep_over(value: str) -> None:
    message = refusal(f"exp_manager.name={value}")
    assert message.startswith(
        f"exp_manager.name={value}: a run has one value here, not several; start a run for each, "
    )
    text = re.search(r"or write (.*) for one text$", message)
    assert text and value_of("exp_manager.name", text[1]) == value


def test_what_no_quotes_help() -> None:
    assert "plain letters" in refusal("data.sources.wéb=/a")
    for value in ("[/a, /b", "{web: 0.6, wiki=0.4}", "[a{1}]"):
        assert "its brackets, commas and colons make no list and no mapping" in refusal(f"data.input={value}")


@settings(max_examples=150, deadline=None)
@given(st.text(st.sampled_from("ab =,'\"\\é()#:$日~"), min_size=1, max_size=8))
def test_any_text_comes_through(value: str) -> None:
    override = f"exp_manager.name=x{value}"
    advised = quoted(override)
    assert advised is not None
    if advised != shlex.quote(override):
        [written] = shlex.split(advised)
        assert OverridesParser.create().parse_override(written).value() == f"x{value}"


def test_a_value_that_the_shell_has_cut_at_its_spaces(capsys: pytest.CaptureFixture[str]) -> None:
    for words, advised in (
        (["data.input=/my", "own", "texts"], "'data.input=/my own texts'"),
        (["data.input=[/a,", "/b c]"], "'data.input=[/a, /b c]'"),
        (["model.seed=3", "data.input=/ä", "b"], "'data.input=\"/ä b\"'"),
    ):
        assert main(["plan", "--config-name", "danube_rehearsal", *words]) == 2
        said = capsys.readouterr().err
        assert "not KEY=VALUE; if it belongs to data.input=" in said
        assert said.endswith(f", a value with spaces is to be in quotes: {advised}\n")
    assert main(["plan", "nonsense"]) == 2
    assert capsys.readouterr().err == "danube: nonsense: not KEY=VALUE\n"
