"""What the chat rehearsal says of held-out prompts: the losses of the run, and how many answers end by themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from custom_modules.chat.model import ChatModel
from custom_modules.chat_tokenizer.prompt_format import ChatTokenizer
from data_prep.rehearsal import held_out
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.preferences import VOCAB_SIZE, make_chat_export
from tests.support.sft_samples import conversations, encode, write_conversations
from tests.support.tokenizers import ENGLISH

COUNT = 20
LONGEST = 1_000


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.model"
    path.write_bytes(train_tokenizer(ENGLISH, VOCAB_SIZE))
    return path


@pytest.fixture(scope="module")
def data(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ``data.dir`` whose held-out conversations are ``conversations(COUNT, COUNT)``, whole."""
    chat = ChatTokenizer.from_file("sentencepiece", tokenizer)
    samples = [encode(chat, each, LONGEST) for each in conversations(COUNT, COUNT)]
    return write_conversations(tmp_path_factory.mktemp("chats") / "data", tokenizer, [samples, samples], LONGEST)


def end_id(export: Path) -> int:
    return int(json.loads((export / "config.json").read_text())["eos_token_id"])


def make_run(folder: Path, first: float, last: float) -> Path:
    folder.mkdir()
    lines = [
        {"kind": "validation", "step": step, "tokens": 8 * step, "stage": "sft", "seq_length": 64, "loss": loss}
        for step, loss in enumerate((first, (first + last) / 2 - 0.5, last))
    ]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_a_prompt_for_each_answer_as_a_chat_has_it(tokenizer: Path, data: Path) -> None:
    chat = ChatTokenizer.from_file("sentencepiece", tokenizer)
    expected = [
        chat.encode_prompt(messages[: turn + 1])
        for messages in conversations(COUNT, COUNT)
        for turn in range(0, len(messages), 2)
    ]
    assert len(expected) > COUNT
    assert held_out.prompts(data) == expected


def test_from_all_of_the_sources(data: Path) -> None:
    every = held_out.prompts(data)
    assert held_out.spread(every, len(every) + 1) == every
    assert held_out.spread([[number] for number in range(10)], 4) == [[0], [2], [5], [7]]


def test_together_as_one_by_one(data: Path, tmp_path: Path) -> None:
    """Prompts of different lengths, of which some get an answer that ends; whatever they are padded with."""
    export = make_chat_export(tmp_path / "export")
    weights = load_file(export / "model.safetensors")
    weights["lm_head.weight"][end_id(export)] *= 3
    save_file(weights, export / "model.safetensors", {"format": "pt"})
    defaults = json.loads((export / "generation_config.json").read_text())
    (export / "generation_config.json").write_text(json.dumps({**defaults, "repetition_penalty": 1.3}))
    model = ChatModel(export)
    asked = held_out.prompts(data)
    limits = {"max_new_tokens": 24, "do_sample": False}
    alone = [not model.answer(prompt, limits, lambda text: None)[1] for prompt in asked]
    assert 0 < sum(alone) < len(asked)
    assert model.ends(asked, 24) == alone


@pytest.mark.parametrize(
    ("losses", "end", "message"),
    [
        ((4.5, 3.0), 1.0, None),
        ((4.5, 4.0), 1.0, "the held-out loss fell by 0.500 nats, and not by 1; train longer"),
        ((4.5, 3.0), 0.0, "held-out prompts get an answer that ends within 8 tokens, and not 90%; train longer"),
    ],
)
def test_both_are_printed_and_either_may_be_too_little(
    data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    losses: tuple[float, float],
    end: float,
    message: str | None,
) -> None:
    run, export = make_run(tmp_path / "run", *losses), make_chat_export(tmp_path / "export")
    weights = load_file(export / "model.safetensors")
    for name, weight in weights.items():
        # Whatever is read, the hidden state is the same, and the end token's logit the largest or the smallest.
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            weight.zero_()
    weights["model.embed_tokens.weight"].fill_(1.0)
    weights["lm_head.weight"].fill_(0.5)
    weights["lm_head.weight"][end_id(export)] = end
    save_file(weights, export / "model.safetensors", {"format": "pt"})
    words = [str(run), str(export), str(data), "--prompts", "10", "--max-new-tokens", "8"]
    assert held_out.main(words) == (2 if message else 0)
    said = capsys.readouterr()
    share = "10 of 10" if end else "0 of 10"
    assert said.out.splitlines() == [
        f"held-out loss over answers: {losses[0]:.3f} nats a token before SFT, {losses[1]:.3f} after it",
        f"{share} held-out prompts get an answer that ends by itself",
    ]
    assert said.err.count("\n") == (1 if message else 0) and (message or "") in said.err


def test_what_it_is_not_for(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run(tmp_path / "run", 4.0, 2.0)
    assert held_out.main([str(run), str(tmp_path), str(tmp_path)]) == 2
    assert "no conversations are prepared there" in capsys.readouterr().err
    lines = (run / "metrics.jsonl").read_text().splitlines()[1:]
    (run / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    assert held_out.main([str(run), str(tmp_path), str(data)]) == 2
    assert "has no validation from before its first step" in capsys.readouterr().err
