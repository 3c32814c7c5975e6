"""llama.cpp runs the file of `danube convert to-gguf`: the trained model's logits, and the tokenizer's ids.

Its Python package is built in an environment of its own; `make test-gguf` makes that and says where it is.
"""

from __future__ import annotations

import json
import os
import pydoc_data.topics
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from custom_modules.conversion import to_gguf
from custom_modules.tokenizer import load_tokenizer
from custom_modules.tokenizer.byte_bpe import CL100K_SPLIT, END_OF_TEXT, write_tokenizer
from custom_modules.tokenizer.huggingface_vocabulary import byte_alphabet
from tests.support.tiktoken_files import hard_texts
from tests.support.tokenizers import make_byte_level
from tests.support.trained import Trained, loki_config, make_trained

pytestmark = pytest.mark.gguf
PYTHON = "DANUBE_LLAMA_PYTHON"
TOPICS = sorted(pydoc_data.topics.topics.values())

RUN = """
import json, sys
import numpy as np
from llama_cpp import GGML_TYPE_F32, Llama

asked = json.load(open(sys.argv[1]))
options = {"n_ctx": 1024, "n_batch": 1024, "n_threads": 2, "verbose": False, "logits_all": True}
model = Llama(asked["file"], type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, flash_attn=False, **options)
logits = []
for tokens in asked["tokens"]:
    model.reset()
    model.eval(tokens)
    logits.append(np.array(model.scores[: len(tokens)], dtype=np.float32))
np.savez(asked["logits"], *logits)
ids = [model.tokenize(text.encode(), add_bos=True, special=False) for text in asked["texts"]]
special = [model.tokenize(text.encode(), add_bos=True, special=True) for text in asked["with_control"]]
json.dump([ids, special], open(asked["ids"], "w"))
"""


@pytest.fixture(scope="session")
def llama_cpp() -> str:
    """The Python that has llama-cpp-python."""
    if PYTHON not in os.environ:
        pytest.skip(f"{PYTHON} is not set: `make test-gguf` makes that environment and sets it")
    return os.environ[PYTHON]


Answer = tuple[list[np.ndarray], list[list[int]], list[list[int]]]


def ask(
    python: str, file: Path, folder: Path, tokens: list[list[int]], texts: list[str], with_control: list[str]
) -> Answer:
    """Logits ``[s, vocabulary]`` of each sequence, and the ids of texts, without and with control tokens."""
    asked = {"file": str(file), "tokens": tokens, "texts": texts, "with_control": with_control}
    asked |= {"logits": str(folder / "logits.npz"), "ids": str(folder / "ids.json")}
    (folder / "asked.json").write_text(json.dumps(asked))
    done = subprocess.run([python, "-c", RUN, str(folder / "asked.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "logits.npz") as found:
        logits = [found[name] for name in found.files]
    ids, special = json.loads((folder / "ids.json").read_text())
    return logits, ids, special


@pytest.mark.parametrize(
    ("overrides", "dtype", "tolerance"),
    [
        ([], "fp32", 1e-4),
        ([], "bf16", 0.5),
        (["model.num_attention_heads=6", "model.num_query_groups=6", "model.kv_channels=32"], "fp32", 1e-4),
    ],
)
def test_logits_are_the_trained_models(
    llama_cpp: str, tokenizer_model: Path, tmp_path: Path, overrides: list[str], dtype: str, tolerance: float
) -> None:
    """Up to the whole context, with fewer key heads, and with slopes of a number of heads that is no power of two.

    In bf16 the file has rounded weights, so that only a wrong model is further off.
    """
    trained: Trained = make_trained(loki_config(*overrides), tokenizer_model, tmp_path / "run", (7, 300, 1024))
    to_gguf(trained.run_dir, tmp_path / "a.gguf", dtype=dtype)
    tokens = [samples[0].tolist() for samples in trained.samples.values()]
    logits, _, _ = ask(llama_cpp, tmp_path / "a.gguf", tmp_path, tokens, [], [])
    for found, expected in zip(logits, trained.logits.values(), strict=True):
        assert expected.abs().max() > 1
        assert np.abs(found - expected[0].numpy()).max() <= tolerance


def cl100k_like(folder: Path, is_whole: bool) -> None:
    """A byte-level BPE of 491 tokens that cuts a text as cl100k_base does."""
    tokenizer = Tokenizer(models.BPE())
    cut = pre_tokenizers.Split(Regex(CL100K_SPLIT), "isolated")
    bytes_of = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_of])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        TOPICS, trainers.BpeTrainer(vocab_size=490, initial_alphabet=alphabet, show_progress=False)
    )
    vocabulary, letters = tokenizer.get_vocab(), byte_alphabet()
    tokens = [bytes(map(letters.__getitem__, piece)) for piece in sorted(vocabulary, key=vocabulary.__getitem__)]
    write_tokenizer(folder, tokens, is_whole)


def gpt_2_like(folder: Path) -> None:
    make_byte_level().save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|end|>", "bos_token": "<|bos|>"}))


@pytest.mark.parametrize(
    ("write", "end"),
    [
        (lambda folder: cl100k_like(folder, False), END_OF_TEXT),
        (lambda folder: cl100k_like(folder, True), END_OF_TEXT),
        (gpt_2_like, "<|end|>"),
        (None, "</s>"),
    ],
    ids=["cl100k", "cl100k_whole_words", "gpt_2", "sentencepiece"],
)
def test_ids_are_the_tokenizers(
    llama_cpp: str, tokenizer_model: Path, tmp_path: Path, write: Callable[[Path], None] | None, end: str
) -> None:
    """On English and on hostile text; nothing is put before one, and a control token's text is text."""
    folder = tokenizer_model.parent
    if write is not None:
        folder = tmp_path / "tokenizer"
        folder.mkdir()
        write(folder)
    library = "sentencepiece" if write is None else "huggingface"
    tokenizer = load_tokenizer(library, folder)
    config = loki_config(f"model.tokenizer.library={library}")
    trained = make_trained(config, tokenizer.path, tmp_path / "run", (7,))
    to_gguf(trained.run_dir, tmp_path / "a.gguf")
    pieces = [tokenizer.decode([index]).encode() for index in range(tokenizer.vocab_size)]
    texts = [text for text in [*TOPICS, *hard_texts([piece for piece in pieces if piece]), f"a{end}b"] if text]
    _, found, special = ask(llama_cpp, tmp_path / "a.gguf", tmp_path, [], texts, [f"a{end}"])
    wrong = [text for text, ids in zip(texts, found, strict=True) if ids != tokenizer.encode(text)]
    assert not wrong, f"{len(wrong)} of {len(texts)}: {wrong[:3]}"
    assert special == [[*tokenizer.encode("a"), tokenizer.eos_id]]
