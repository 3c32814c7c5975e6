"""A Hugging Face folder becomes a checkpoint that megatron-core loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.validation import StrictHandling
from transformers import LlamaConfig, LlamaForCausalLM, MistralConfig, MistralForCausalLM

from custom_modules.conversion import from_hf
from custom_modules.errors import UserError
from custom_modules.model.build import build_model
from custom_modules.platform import Platform
from custom_modules.run_folder import checkpoint_files
from custom_modules.tokenizer import load_tokenizer
from tests.support.trained import Trained, small_config


@pytest.mark.parametrize(("kind", "shards"), [("mistral", 1), ("mistral", 2), ("llama", 1)])
def test_megatron_core_loads_a_model_of_transformers(exported: Path, tmp_path: Path, kind: str, shards: int) -> None:
    """Every key is there, none is left over, and the logits are transformers'."""
    torch.manual_seed(0)
    fields = MistralConfig.from_pretrained(exported).to_dict()
    is_llama = kind == "llama"
    window = fields.pop("sliding_window") if is_llama else fields["sliding_window"]
    assert window == 24
    for name in ("model_type", "architectures"):
        del fields[name]
    model = LlamaForCausalLM(LlamaConfig(**fields)) if is_llama else MistralForCausalLM(MistralConfig(**fields))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(tmp_path / "hf", max_shard_size="150KB" if shards > 1 else "1GB")
    assert len(list((tmp_path / "hf").glob("*.safetensors"))) >= shards
    shutil.copyfile(exported / "tokenizer.model", tmp_path / "hf" / "tokenizer.model")
    tokens = torch.randint(500, (1, 80))
    config = small_config(*(["model.sliding_window=null"] if is_llama else []))
    checkpoint = from_hf(tmp_path / "hf", tmp_path / "run", config)
    with Platform.detect(config).running(config), torch.no_grad():
        gpt = build_model(config, initial_weights=False)
        loaded = dist_checkpointing.load(
            {"model": gpt.sharded_state_dict()}, str(checkpoint / "dist"), strict=StrictHandling.RAISE_ALL
        )
        gpt.load_state_dict(loaded["model"])
        logits = gpt(tokens, torch.arange(80)[None], None)
        assert not gpt.embedding.word_embeddings.weight[500:].any()
        assert not gpt.output_layer.weight[500:].any()
        expected = model(tokens).logits
    assert expected.abs().max() > 1
    torch.testing.assert_close(logits[..., :500], expected, rtol=0, atol=1e-5)


def test_the_checkpoint_is_whole(trained: Trained, exported: Path, tmp_path: Path) -> None:
    folder = from_hf(exported, tmp_path / "run", trained.config)
    checkpoint = checkpoint_files.open_checkpoint(folder)
    assert checkpoint_files.resolve(tmp_path / "run").path == folder
    assert (checkpoint.consumed_tokens, checkpoint.step) == (0, 0)
    assert checkpoint.config() == trained.config
    tokenizer = load_tokenizer("sentencepiece", checkpoint.tokenizer)
    assert tokenizer.sha256 == checkpoint.tokenizer_sha256
    with pytest.raises(UserError, match="run: already has a checkpoint"):
        from_hf(exported, tmp_path / "run", trained.config)


def test_a_write_that_fails_leaves_nothing(
    trained: Trained, exported: Path, tmp_path: Path, full_disk: Callable[[int], AbstractContextManager[None]]
) -> None:
    with full_disk(50_000), pytest.raises(UserError, match=r"tokens_0+: cannot be written \(File too large\)"):
        from_hf(exported, tmp_path / "run", trained.config)
    assert not list(tmp_path.iterdir())
