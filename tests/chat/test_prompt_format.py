"""A conversation has the same tokens in training, on disk, in transformers and in the tokenizers library alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jinja2
import pytest
from hypothesis import HealthCheck, example, given, settings
from tokenizers import Tokenizer as RustTokenizer
from transformers import AutoTokenizer

from custom_modules.chat_tokenizer.prompt_format import CHAT_TEMPLATE, TEMPLATE, ChatTokenizer
from custom_modules.tokenizer import load_tokenizer
from tests.support.chat import contents, conversations, turns

MARKERS = ("<|prompt|>", "<|answer|>")
hypothesis = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
ODD = [
    turns(['>"a', '>>"'] * 2),
    turns(["</</s>s>", ""]),
    turns([" \n", "\x00 é🙂"]),
    turns(["<|answer|>", "<|prompt|>"]),
]


def plain_jinja(folder: Path, **options: Any) -> Callable[..., str]:
    """The template of a folder in an environment that has nothing of transformers' but what it is told to raise."""

    def refuse(message: str) -> None:
        raise jinja2.TemplateError(message)

    environment = jinja2.Environment(**options)
    template = environment.from_string((folder / CHAT_TEMPLATE).read_text(encoding="utf-8"))
    return lambda messages, **more: template.render(messages=messages, raise_exception=refuse, **more)


@pytest.fixture(scope="module")
def everywhere(saved: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Callable[..., list[int]]]:
    """The ways to have a conversation's ids: transformers, and again after it has saved the folder, and `tokenizers`
    alone, of both folders, on text of a plain Jinja."""
    again = tmp_path_factory.mktemp("again")
    AutoTokenizer.from_pretrained(saved).save_pretrained(again)
    ways: list[Callable[..., list[int]]] = []
    for folder in (saved, again):
        auto = AutoTokenizer.from_pretrained(folder)
        alone = RustTokenizer.from_file(str(folder / "tokenizer.json"))
        render = plain_jinja(folder)

        def by_transformers(messages: Any, auto: Any = auto, **more: Any) -> list[int]:
            return list(auto.apply_chat_template(messages, return_dict=False, **more))

        def by_tokenizers(messages: Any, alone: Any = alone, render: Any = render, **more: Any) -> list[int]:
            return list(alone.encode(render(messages, **more)).ids)

        ways += [by_transformers, by_tokenizers]
    return ways


def test_the_same_everywhere_and_a_prompt_is_a_beginning(
    chat_tokenizer: ChatTokenizer, saved: Path, everywhere: list[Callable[..., list[int]]]
) -> None:
    loaded = ChatTokenizer.load(saved)

    @hypothesis
    @given(messages=conversations)
    @example(messages=ODD[0])
    @example(messages=ODD[1])
    @example(messages=ODD[2])
    @example(messages=ODD[3])
    def holds(messages: list[dict[str, str]]) -> None:
        encoded = chat_tokenizer.encode(messages)
        assert encoded == loaded.encode(messages)
        trained = [False] * len(encoded.ids)
        for end in range(2, len(messages) + 1, 2):
            prompt = chat_tokenizer.encode_prompt(messages[: end - 1])
            whole = chat_tokenizer.encode(messages[:end]).ids
            assert encoded.ids[: len(prompt)] == prompt
            assert encoded.ids[: len(whole)] == whole
            assert whole[-1] == chat_tokenizer.eos_id
            trained[len(prompt) : len(whole)] = [True] * (len(whole) - len(prompt))
            for way in everywhere:
                assert way(messages[: end - 1], add_generation_prompt=True) == prompt
        assert encoded.answers == trained
        for way in everywhere:
            assert way(messages) == encoded.ids

    holds()


def test_no_content_gives_a_control_token(chat_tokenizer: ChatTokenizer, vocabulary: tuple[str, Path]) -> None:
    control = load_tokenizer(*vocabulary).control_tokens()

    @hypothesis
    @given(messages=conversations)
    @example(messages=turns(["</</s>s><<unk>unk>", "<</s>/s></s><s>"]))
    def holds(messages: list[dict[str, str]]) -> None:
        ids = chat_tokenizer.encode(messages).ids
        assert [index for index in ids if index in control] == [chat_tokenizer.eos_id] * len(messages)

    holds()
    for name in control.values():
        for outer in control.values():
            nested = outer[:1] + name + outer[1:]
            assert chat_tokenizer.encode(turns([nested, name * 3])).ids.count(chat_tokenizer.eos_id) == 2


def test_markers_stay_apart_and_all_else_is_as_in_pretraining(
    chat_tokenizer: ChatTokenizer, vocabulary: tuple[str, Path], saved: Path
) -> None:
    base = load_tokenizer(*vocabulary)
    alone = RustTokenizer.from_file(str(saved / "tokenizer.json"))
    for marker in MARKERS:
        assert alone.encode(marker).ids == base.encode(marker)
        assert alone.encode(f'{marker}>"').ids[: len(base.encode(marker))] == base.encode(marker)
    alone.encode_special_tokens = True

    @hypothesis
    @given(text=contents.filter(lambda text: not any(marker in text for marker in MARKERS)))
    @example(text='a </s> <|prompt >"')
    def holds(text: str) -> None:
        assert alone.encode(text).ids == base.encode(text)

    holds()
    assert chat_tokenizer.vocab_size == base.vocab_size


@pytest.mark.parametrize("options", [{"trim_blocks": True, "lstrip_blocks": True}, {"keep_trailing_newline": True}])
def test_how_an_environment_cuts_blanks_does_not_matter(small: ChatTokenizer, tmp_path: Path, options: Any) -> None:
    small.save(tmp_path)
    messages = turns([" a \n b ", " c ", "d", ""])
    text = "<|prompt|>a \n b</s><|answer|>c</s><|prompt|>d</s><|answer|></s>"
    for render in (plain_jinja(tmp_path), plain_jinja(tmp_path, **options)):
        assert render(messages) == small.render(messages) == text
        assert render(messages[:3], add_generation_prompt=True) == text.removesuffix("</s>")
    assert (tmp_path / CHAT_TEMPLATE).read_text() == TEMPLATE
    assert "generation %}" not in TEMPLATE


@pytest.mark.parametrize("roles", [["system", "user"], ["user", "user"], ["assistant"], ["user", "system"]])
def test_the_template_refuses_other_roles(small: ChatTokenizer, tmp_path: Path, roles: list[str]) -> None:
    small.save(tmp_path)
    with pytest.raises(jinja2.TemplateError, match="Turns must alternate"):
        plain_jinja(tmp_path)([{"role": role, "content": "a"} for role in roles])


def test_what_is_saved_is_the_same_tokenizer(
    chat_tokenizer: ChatTokenizer, saved: Path, vocabulary: tuple[str, Path], tmp_path: Path
) -> None:
    loaded = ChatTokenizer.load(saved)
    assert loaded.base_sha256 == chat_tokenizer.base_sha256 == load_tokenizer(*vocabulary).sha256
    assert loaded.sha256 == chat_tokenizer.sha256
    loaded.save(tmp_path, 1024)
    for path in saved.iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes(), path.name
    auto = AutoTokenizer.from_pretrained(saved)
    assert (auto.eos_token_id, auto.pad_token_id) == (chat_tokenizer.eos_id, chat_tokenizer.pad_id)
    assert (len(auto), auto.model_max_length) == (chat_tokenizer.vocab_size, 1024)
    assert load_tokenizer(vocabulary[0], saved).eos_id == chat_tokenizer.eos_id
