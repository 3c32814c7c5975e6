"""`danube chat` for scripts: stdout has the answers alone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from tests.support import warm
from tests.support.chat import make_chain
from tests.support.commands import danube_command, environment, run_danube, start_danube

SAYS = "so é🙂 it is"


@pytest.fixture(scope="module")
def finite(small: ChatTokenizer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_chain(tmp_path_factory.mktemp("finite") / "model", small, SAYS)


def through_a_pipe(lines: bytes, *words: str) -> subprocess.CompletedProcess[bytes]:
    pipe, command = subprocess.PIPE, danube_command("chat", *words)
    with warm.Program(command, env=environment(), stdin=pipe, stdout=pipe, stderr=pipe) as program:
        output, errors = program.communicate(lines, timeout=120)
    return subprocess.CompletedProcess(words, program.returncode, output, errors)


def test_lines_are_answered_in_one_conversation(finite: Path) -> None:
    once = through_a_pipe(b"a\n\nb\r\nc", str(finite))
    assert (once.returncode, once.stdout.decode(), once.stderr) == (0, f"{SAYS}\n" * 3, b"")
    many = through_a_pipe(b"a\n" * 8, str(finite), "--max-new-tokens", "64")
    assert (many.returncode, many.stdout.decode()) == (0, f"{SAYS}\n" * 8)
    assert b"the context is full: the oldest question is left out" in many.stderr
    reset = through_a_pipe(b"a\n/reset\n" * 8 + b"/quit\nb\n", str(finite), "--max-new-tokens", "64")
    assert (reset.returncode, reset.stdout.decode(), reset.stderr) == (0, f"{SAYS}\n" * 8, b"")


def test_one_question(finite: Path) -> None:
    found = run_danube("chat", str(finite), "--prompt", "What is it?\n\nSay.")
    assert (found.returncode, found.stdout, found.stderr) == (0, f"{SAYS}\n", "")
    found = run_danube("chat", str(finite), "--prompt", "What?", "--max-new-tokens", "2")
    assert SAYS.startswith(found.stdout.rstrip("\n"))
    assert found.stderr == "danube: the answer is cut off at --max-new-tokens\n"


def test_lines_that_cannot_be_answered(finite: Path) -> None:
    found = through_a_pipe(b"a\n" + b"0 " * 300 + b"\nb\n", str(finite))
    assert (found.returncode, found.stdout.decode()) == (2, f"{SAYS}\n")
    assert found.stderr.startswith(b"danube: line 2 of stdin: the message has ")
    assert found.stderr.count(b"\n") == 1
    found = through_a_pipe(b"\xff\n", str(finite))
    assert (found.returncode, found.stdout) == (2, b"")
    assert found.stderr == b"danube: line 1 of stdin: not UTF-8; convert it, as with iconv\n"
    asked = run_danube("chat", str(finite), "--prompt", "\udcff")
    assert (asked.returncode, asked.stderr) == (2, "danube: the message has bytes that are no text; give it in UTF-8\n")


def test_what_is_drawn_follows_the_seed(finite: Path) -> None:
    def answer(*words: str) -> str:
        found = run_danube("chat", str(finite), "--prompt", "a", "--max-new-tokens", "12", *words)
        assert found.returncode == 0, found.stderr
        return str(found.stdout)

    first = answer("--temperature", "20", "--seed", "1")
    assert answer("--temperature", "20", "--seed", "1") == first
    assert answer("--temperature", "20", "--seed", "2") != first
    assert answer("--temperature", "0") == answer("--top-k", "1") == answer() == f"{SAYS}\n"
    twice = through_a_pipe(
        b"a\n/reset\na\n", str(finite), "--temperature", "20", "--seed", "1", "--max-new-tokens", "12"
    )
    assert twice.stdout.decode() == first * 2


@pytest.mark.parametrize(
    "words",
    [
        ["--temperature", "-1"],
        ["--temperature", "nan"],
        ["--top-p", "0"],
        ["--top-p", "1.1"],
        ["--top-k", "0"],
        ["--repetition-penalty", "0"],
        ["--max-new-tokens", "0"],
    ],
)
def test_options_that_are_refused(finite: Path, words: list[str]) -> None:
    found = run_danube("chat", str(finite), "--prompt", "a", *words)
    assert (found.returncode, found.stdout) == (2, "")
    assert words[0] in found.stderr.splitlines()[-1]


def test_a_reader_that_goes_away(small: ChatTokenizer, tmp_path: Path) -> None:
    folder = make_chain(tmp_path / "model", small, "value of", context=4096, ends=False)
    program = start_danube("chat", str(folder), "--prompt", "a", "--max-new-tokens", "4000", stdout=subprocess.PIPE)
    with program:
        assert program.stdout is not None and program.stderr is not None
        assert program.stdout.read(5) == "value"
        program.stdout.close()
        assert program.wait(60) == 141
        assert program.stderr.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_killed(small: ChatTokenizer, tmp_path: Path, number: signal.Signals) -> None:
    folder = make_chain(tmp_path / "model", small, "value of", context=4096, ends=False)
    program = start_danube("chat", str(folder), "--prompt", "a", "--max-new-tokens", "4000", stdout=subprocess.PIPE)
    with program:
        assert program.stdout is not None and program.stderr is not None
        program.stdout.read(5)
        program.send_signal(number)
        assert program.wait(60) == (130 if number == signal.SIGINT else -number)
        assert "Traceback" not in program.stderr.read()


def test_folders_that_are_refused(finite: Path, tmp_path: Path) -> None:
    found = run_danube("chat", str(tmp_path))
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert f"{tmp_path}: not a Hugging Face folder" in found.stderr
    folder = shutil.copytree(finite, tmp_path / "model")
    (folder / "chat_template.jinja").unlink()
    found = run_danube("chat", str(folder), "--prompt", "a")
    assert (found.returncode, found.stderr.count("\n")) == (2, 1)
    assert f"{folder}: no chat template" in found.stderr
    assert "danube sft" in found.stderr


def test_another_programs_template(finite: Path, tmp_path: Path) -> None:
    """As older exports have it, in their tokenizer_config.json."""
    folder = shutil.copytree(finite, tmp_path / "model")
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").unlink()
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": template}))
    assert run_danube("chat", str(folder), "--prompt", "a").stdout == f"{SAYS}\n"
    refusing = "{{ raise_exception('no') }}"
    (folder / "tokenizer_config.json").write_text(json.dumps({**config, "chat_template": refusing}))
    found = run_danube("chat", str(folder), "--prompt", "a")
    assert (found.returncode, found.stderr) == (2, "danube: the model's chat template refuses the conversation: no\n")
