"""A run with ALiBi becomes a file for llama.cpp: its names, its numbers, its tokenizer, read by the `gguf` package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer as RustTokenizer

from custom_modules.conversion import to_gguf, to_hf
from custom_modules.errors import UserError
from custom_modules.run_folder.metadata import METADATA
from custom_modules.tokenizer.byte_bpe import END_OF_TEXT, write_tokenizer
from tests.support.trained import Trained

gguf = pytest.importorskip("gguf", reason="the gguf package is not installed")


def entries(path: Path) -> dict[str, Any]:
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


@pytest.fixture(scope="module")
def file(loki: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export, in fp32; not to be changed."""
    path = tmp_path_factory.mktemp("gguf") / "loki.gguf"
    to_gguf(loki.run_dir, path)
    return path


@pytest.fixture
def with_tokenizer(
    loki: Trained, publish_again: Callable[[Path], None], tmp_path: Path
) -> Callable[[Callable[[Path], object]], Path]:
    """Makes a copy of the checkpoint whose tokenizer is a ``tokenizer.json``, of the files that a function writes."""

    def make(write: Callable[[Path], object]) -> Path:
        copy = shutil.copytree(loki.checkpoint, tmp_path / loki.checkpoint.name)
        shutil.rmtree(copy / "tokenizer")
        (copy / "tokenizer").mkdir()
        write(copy / "tokenizer")
        metadata = json.loads((copy / METADATA).read_text())
        metadata["config"]["model"]["tokenizer"]["library"] = "huggingface"
        kept = {name: digest for name, digest in metadata["files"].items() if not name.startswith("tokenizer/")}
        metadata["files"] = kept | {f"tokenizer/{path.name}": {} for path in (copy / "tokenizer").iterdir()}
        (copy / METADATA).write_text(json.dumps(metadata))
        publish_again(copy)
        return copy

    return make


def byte_level(folder: Path) -> None:
    """300 tokens, of 500 rows."""
    pairs = [bytes([first, second]) for first in b"the an" for second in b"the an"]
    write_tokenizer(folder, [*(bytes([byte]) for byte in range(256)), *dict.fromkeys(pairs)][:299], is_whole=False)


def test_numbers_of_the_model(file: Path, loki: Trained) -> None:
    found, model = entries(file), loki.config.model
    assert found["general.architecture"] == "refact"
    assert found["refact.context_length"] == 1024
    assert found["refact.embedding_length"] == model.hidden_size
    assert found["refact.block_count"] == model.num_layers
    assert found["refact.feed_forward_length"] == model.ffn_hidden_size
    assert found["refact.attention.head_count"] == model.num_attention_heads
    assert found["refact.attention.head_count_kv"] == model.num_query_groups
    assert found["refact.attention.key_length"] == found["refact.attention.value_length"] == model.head_dim
    assert found["refact.attention.layer_norm_rms_epsilon"] == pytest.approx(model.layernorm_epsilon)


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_weights_are_those_of_to_hf(loki: Trained, tmp_path: Path, dtype: str) -> None:
    """llama.cpp's names are what its own converter makes of Llama's."""
    from safetensors.torch import load_file

    to_gguf(loki.checkpoint, tmp_path / "a.gguf", dtype=dtype)
    to_hf(loki.checkpoint, tmp_path / "hf", dtype=dtype)
    expected = load_file(tmp_path / "hf" / "model.safetensors")
    names = {
        **{"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"},
        **{"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"},
        **{f"self_attn.{part}_proj": f"attn_{part}" for part in "qkv"},
        **{"self_attn.o_proj": "attn_output"},
        **{f"mlp.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")},
    }
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(tmp_path / "a.gguf").tensors}
    assert len(found) == len(expected)
    for name, weight in expected.items():
        short = name.removesuffix(".weight")
        _, _, rest = short.partition("model.layers.")
        layer, _, part = rest.partition(".")
        tensor = found[f"blk.{layer}.{names[part]}.weight" if rest else f"{names[short]}.weight"]
        assert [*tensor.shape] == [*reversed(weight.shape)]
        assert tensor.tensor_type.name == ("F32" if weight.dim() == 1 or dtype == "fp32" else "BF16")
        values = gguf.quants.dequantize(np.array(tensor.data), tensor.tensor_type)
        assert torch.equal(torch.from_numpy(values).view(weight.shape), weight.float())


def test_a_sentencepiece_model(file: Path, loki: Trained) -> None:
    import sentencepiece

    processor = sentencepiece.SentencePieceProcessor(str(loki.checkpoint / "tokenizer" / "tokenizer.model"))
    found, size = entries(file), processor.vocab_size()
    assert found["tokenizer.ggml.model"] == "llama"
    assert found["tokenizer.ggml.tokens"] == [processor.id_to_piece(index) for index in range(size)]
    assert found["tokenizer.ggml.scores"] == [processor.get_score(index) for index in range(size)]
    kinds = found["tokenizer.ggml.token_type"]
    assert kinds[:3] == [2, 3, 3], "<unk>, <s> and </s>"
    assert {kinds[index] for index in range(size) if processor.is_byte(index)} == {6}
    assert found["tokenizer.ggml.eos_token_id"] == found["tokenizer.ggml.bos_token_id"] == processor.eos_id()
    assert found["tokenizer.ggml.add_bos_token"] is False
    assert found["tokenizer.ggml.add_space_prefix"] is True


def test_a_byte_level_tokenizer(with_tokenizer: Callable[..., Path], tmp_path: Path) -> None:
    """Its end of text is a control token, there and in the Hugging Face folder; rows that no token has are unused."""
    from transformers import AutoTokenizer

    copy = with_tokenizer(byte_level)
    to_gguf(copy, tmp_path / "a.gguf")
    to_hf(copy, tmp_path / "hf")
    found = entries(tmp_path / "a.gguf")
    reference = RustTokenizer.from_file(str(copy / "tokenizer" / "tokenizer.json"))
    size = reference.get_vocab_size()
    assert found["tokenizer.ggml.model"] == "gpt2" and found["tokenizer.ggml.pre"] == "dbrx"
    tokens, kinds = found["tokenizer.ggml.tokens"], found["tokenizer.ggml.token_type"]
    assert len(tokens) == len(kinds) == 500 == len(set(tokens))
    assert tokens[:size] == [reference.id_to_token(index) for index in range(size)]
    assert {index for index, kind in enumerate(kinds) if kind == 3} == {tokens.index(END_OF_TEXT)}
    assert {index for index, kind in enumerate(kinds) if kind == 5} == {*range(size, 500)}
    model = json.loads(reference.to_str())["model"]
    assert found["tokenizer.ggml.merges"] == [" ".join(pair) for pair in model["merges"]]
    assert found["tokenizer.ggml.eos_token_id"] == tokens.index(END_OF_TEXT)
    auto = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert auto.encode(f"a{END_OF_TEXT}b") == [ord("a"), tokens.index(END_OF_TEXT), ord("b")]
    assert auto.decode(auto.encode(f"a{END_OF_TEXT}b"), skip_special_tokens=True) == "ab"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalizer": {"type": "NFC"}}, r"its normalizer changes the text \(NFC\)"),
        (
            {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}},
            "it puts a space before a text",
        ),
        (
            {
                "pre_tokenizer": {
                    "type": "ByteLevel",
                    "add_prefix_space": False,
                    "trim_offsets": True,
                    "use_regex": False,
                }
            },
            "it cuts a text in a way of its own",
        ),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_not(
    with_tokenizer: Callable[..., Path], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    def write(folder: Path) -> None:
        byte_level(folder)
        content = json.loads((folder / "tokenizer.json").read_text())
        (folder / "tokenizer.json").write_text(json.dumps({**content, **change}))

    copy = with_tokenizer(write)
    with pytest.raises(UserError, match=rf"tokenizer\.json: llama\.cpp has no tokenizer .*: {message}; ") as raised:
        to_gguf(copy, tmp_path / "out" / "a.gguf")
    assert "\n" not in str(raised.value)
    assert not [*tmp_path.glob("out/*")]


def test_another_architecture_is_for_llama_cpps_own_converter(trained: Trained, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"model\.architecture=danube: .*convert_hf_to_gguf\.py takes the folder"):
        to_gguf(trained.run_dir, tmp_path / "a.gguf")
    assert not [*tmp_path.iterdir()]


def test_only_an_earlier_export_is_replaced(loki: Trained, file: Path, tmp_path: Path) -> None:
    output = tmp_path / "a.gguf"
    to_gguf(loki.checkpoint, output)
    with pytest.raises(UserError, match="already there; give another file, or --overwrite"):
        to_gguf(loki.checkpoint, output)
    to_gguf(loki.checkpoint, output, dtype="bf16", overwrite=True)
    assert output.stat().st_size < 0.6 * file.stat().st_size
    writer = gguf.GGUFWriter(output, "llama")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    theirs = output.read_bytes()
    with pytest.raises(UserError, match="not an earlier export"):
        to_gguf(loki.checkpoint, output, overwrite=True)
    assert output.read_bytes() == theirs
    with pytest.raises(UserError, match="not an earlier export"):
        to_gguf(loki.checkpoint, tmp_path, overwrite=True)


def test_a_write_that_fails_leaves_what_was_there(
    loki: Trained, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    output = tmp_path / "a.gguf"
    to_gguf(loki.checkpoint, output)
    before = output.read_bytes()
    with full_disk(100_000), pytest.raises(UserError, match=r"a\.gguf: "):
        to_gguf(loki.checkpoint, output, overwrite=True)
    assert output.read_bytes() == before and [*tmp_path.iterdir()] == [output]


def test_a_changed_checkpoint_is_not_exported(loki: Trained, tmp_path: Path) -> None:
    copy = shutil.copytree(loki.checkpoint, tmp_path / loki.checkpoint.name)
    path = max((copy / "dist").iterdir(), key=lambda file: file.stat().st_size)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="changed after it was written"):
        to_gguf(copy, tmp_path / "a.gguf")
    assert not [*tmp_path.glob("*.gguf*")]
