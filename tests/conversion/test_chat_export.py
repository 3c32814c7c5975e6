"""A chat model's checkpoint as a Hugging Face folder and back: its tokenizer, its template, its card."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from transformers import AutoTokenizer, GenerationConfig

from custom_modules.chat_tokenizer.prompt_format import TEMPLATE, ChatTokenizer
from custom_modules.conversion import from_hf, to_gguf, to_hf, verify
from custom_modules.errors import UserError
from custom_modules.files import sha256_of
from custom_modules.run_folder import checkpoint_files
from tests.support.chat import turns
from tests.support.trained import Trained, loki_config, make_trained, small_config

CHAT = turns(['>"What?" </s>', '>>"é🙂"', "a", ""])
FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "tokenizer.model")


@pytest.fixture(scope="module")
def tokenizer_dir(tokenizer_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `danube prepare` of conversations writes."""
    folder = tmp_path_factory.mktemp("tokenizer")
    ChatTokenizer.from_file("sentencepiece", tokenizer_model).save(folder)
    return folder


@pytest.fixture(scope="module")
def chat(tokenizer_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A checkpoint of a run on conversations."""
    return make_trained(small_config(), tokenizer_dir / "tokenizer.model", tmp_path_factory.mktemp("chat"), (7,))


@pytest.fixture(scope="module")
def export(chat: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its Hugging Face folder; not to be changed."""
    folder = tmp_path_factory.mktemp("export") / "model"
    to_hf(chat.run_dir, folder)
    return folder


def test_the_export_holds_conversations_as_training_did(chat: Trained, export: Path, tokenizer_dir: Path) -> None:
    trained, exported = ChatTokenizer.load(tokenizer_dir), ChatTokenizer.load(export)
    assert exported.sha256 == trained.sha256 == ChatTokenizer.load(chat.checkpoint / "tokenizer").sha256
    auto = AutoTokenizer.from_pretrained(export)
    assert auto.apply_chat_template(CHAT, return_dict=False) == trained.encode(CHAT).ids
    assert (export / "chat_template.jinja").read_text() == TEMPLATE
    assert auto.model_max_length == 1024
    generation = GenerationConfig.from_pretrained(export)
    assert (generation.eos_token_id, generation.pad_token_id, generation.repetition_penalty) == (2, 0, 1.1)
    assert generation.do_sample is False


def test_verify_compares_conversations(chat: Trained, export: Path, tmp_path: Path) -> None:
    assert verify(chat.run_dir, export, text="<|prompt|> a\n>> b </s>\nc\n") < 1e-5
    (tmp_path / "model").mkdir()
    for path in export.iterdir():
        (tmp_path / "model" / path.name).write_bytes(path.read_bytes())
    (tmp_path / "model" / "chat_template.jinja").write_text(TEMPLATE.replace(" | trim", ""))
    with pytest.raises(UserError, match=r"AutoTokenizer encodes the answer .* otherwise than training did"):
        verify(chat.run_dir, tmp_path / "model", text="a\n b\n")


@pytest.mark.parametrize("library", ["sentencepiece", "huggingface"])
def test_back_again(export: Path, tokenizer_dir: Path, tokenizer_model: Path, tmp_path: Path, library: str) -> None:
    checkpoint = from_hf(export, tmp_path / "run", small_config(f"model.tokenizer.library={library}"))
    opened = checkpoint_files.open_checkpoint(checkpoint)
    assert opened.tokenizer_sha256 == sha256_of(tokenizer_model)
    assert ChatTokenizer.load(opened.tokenizer).sha256 == ChatTokenizer.load(tokenizer_dir).sha256
    to_hf(tmp_path / "run", tmp_path / "again")
    for name in FILES:
        assert (tmp_path / "again" / name).read_bytes() == (export / name).read_bytes(), name


def test_a_damaged_template_is_not_exported(chat: Trained, export: Path, tmp_path: Path) -> None:
    folder = tmp_path / "hf"
    folder.mkdir()
    for path in export.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(UserError, match=r"chat_template\.jinja: not Danube's prompt format"):
        from_hf(folder, tmp_path / "run", small_config())
    assert not (tmp_path / "run").exists()


def test_for_llama_cpp(tokenizer_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    gguf = pytest.importorskip("gguf")
    make_trained(loki_config(), tokenizer_dir / "tokenizer.model", tmp_path / "run", (7,))
    to_gguf(tmp_path / "run", tmp_path / "model.gguf")
    assert "llama.cpp does not keep <|prompt|> and <|answer|> apart" in capfd.readouterr().err
    fields = gguf.GGUFReader(tmp_path / "model.gguf").fields
    assert fields["tokenizer.chat_template"].contents() == TEMPLATE
    tokens, kinds = (fields[f"tokenizer.ggml.{name}"].contents() for name in ("tokens", "token_type"))
    control = {tokens[index] for index, kind in enumerate(kinds) if kind == gguf.TokenType.CONTROL}
    assert control == {"<s>", "</s>"}
    assert kinds[0] == gguf.TokenType.UNKNOWN
    assert (fields["tokenizer.ggml.eos_token_id"].contents(), fields["tokenizer.ggml.padding_token_id"].contents()) == (
        2,
        0,
    )


def test_every_export_has_a_card(trained: Trained, exported: Path, export: Path) -> None:
    for folder, is_chat in ((exported, False), (export, False)):
        _, head, text = (folder / "README.md").read_text().split("---\n", 2)
        front = yaml.safe_load(head)
        assert front["library_name"] == "transformers"
        assert ("conversational" in front["tags"]) == is_chat
        for words in (
            "MistralForCausalLM",
            "1,024 tokens, a window of 24",
            "danube_rehearsal",
            "8,192 tokens in 1 steps",
        ):
            assert words in text
        for title in ("Model", "Trained from and on", "Recipe", "Use", "Limits"):
            assert f"\n## {title}\n" in text
        assert str(trained.run_dir.parent) not in text
