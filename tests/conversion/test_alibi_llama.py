"""A run with ALiBi becomes a Hugging Face folder that carries its class: right for others, and never run from there."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Iterator
from filecmp import cmpfiles
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, scaled_dot_product_attention
from transformers import AutoModelForCausalLM
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from custom_modules.conversion import from_hf, to_hf, verify
from custom_modules.conversion.local_model import load_model
from custom_modules.conversion.model_card import CARD
from custom_modules.conversion.sample import sample
from custom_modules.errors import UserError
from custom_modules.made import NOTE
from tests.support import warm
from tests.support.commands import environment
from tests.support.trained import Trained, loki_config

CODE = "modeling_alibi_llama.py"


@pytest.fixture(scope="module")
def folder(loki: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The export; not to be changed."""
    folder = tmp_path_factory.mktemp("exported") / "loki"
    to_hf(loki.run_dir, folder)
    return folder


def load(folder: Path, attention: str = "sdpa", dtype: torch.dtype = torch.float32) -> Any:
    load_model(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype, attn_implementation=attention).eval()


def off(found: Tensor, expected: Tensor) -> float:
    """The root mean square of a difference, over the spread of what is expected."""
    return ((found.float() - expected).square().mean().sqrt() / expected.std()).item()


OUTSIDE = """
import sys
import torch
from transformers import AutoModelForCausalLM, dynamic_module_utils
folder, tokens, out, dynamic_module_utils.HF_MODULES_CACHE = sys.argv[1:]
found = {}
for attention in ("sdpa", "eager"):
    model = AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True, attn_implementation=attention).eval()
    with torch.no_grad():
        found[attention] = {length: model(sample).logits for length, sample in torch.load(tokens).items()}
assert "transformers_modules" in type(model).__module__, type(model)
torch.save(found, out)
"""


@pytest.mark.slow
def test_others_load_it_with_its_own_code(loki: Trained, folder: Path, tmp_path: Path) -> None:
    """Up to the whole context, without the project; what it is loaded by is the file in the folder."""
    torch.save(loki.samples, tmp_path / "tokens.pt")
    places = [str(tmp_path / name) for name in ("tokens.pt", "out.pt", "modules")]
    done = warm.run([sys.executable, "-c", OUTSIDE, str(folder), *places], env=environment(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for logits in torch.load(tmp_path / "out.pt").values():
        for length, expected in loki.logits.items():
            assert expected.abs().max() > 1
            assert (logits[length] - expected).abs().max() <= 1e-4


def test_our_own_commands_run_none_of_its_code(loki: Trained, folder: Path, tmp_path: Path) -> None:
    """The trap in the folder's file springs for whoever runs it."""
    changed = shutil.copytree(folder, tmp_path / "changed")
    (changed / CODE).write_text("raise SystemExit('it was run')")
    assert verify(loki.run_dir, changed) <= 1e-4
    assert sample(changed, "A text", 3, 0).startswith("A text")
    from_hf(changed, tmp_path / "run", loki_config())
    with pytest.raises(SystemExit, match="it was run"):
        exec((changed / CODE).read_text())


def test_a_class_of_another_folder_is_refused(folder: Path, tmp_path: Path) -> None:
    changed = shutil.copytree(folder, tmp_path / "changed")
    raw = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**raw, "model_type": "their_own"}))
    with pytest.raises(
        UserError, match=r'^\S+config.json: model_type="their_own" is a class of the folder\'s own code'
    ):
        sample(changed, "A text", 3, 0)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_logits_are_the_trained_models(loki: Trained, folder: Path, attention: str) -> None:
    model = load(folder, attention)
    with torch.no_grad():
        for length, expected in loki.logits.items():
            assert (model(loki.samples[length]).logits - expected).abs().max() <= 1e-4


@pytest.fixture
def flash() -> Iterator[None]:
    """A stand-in for flash-attn, which needs a GPU: its interface, and scores in fp32."""
    before = ALL_ATTENTION_FUNCTIONS["flash_attention_2"]
    ALL_ATTENTION_FUNCTIONS["flash_attention_2"] = plain_causal
    yield
    ALL_ATTENTION_FUNCTIONS["flash_attention_2"] = before


def plain_causal(
    module: Any, query: Tensor, key: Tensor, value: Tensor, padding: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """``[b, heads, s, d]`` -> ``[b, s, heads, d]``; keys are hidden behind a query, and where ``padding`` is 0."""
    assert query.shape[-1] == key.shape[-1] == value.shape[-1] and query.shape[-1] % 8 == 0
    places = torch.arange(key.shape[2])
    visible = (places <= places[-query.shape[2] :, None])[None, None]
    if padding is not None:
        visible = visible & (padding != 0)[:, None, None]
        visible = visible | (places == places[-query.shape[2] :, None])
    attended = scaled_dot_product_attention(query, key, value, visible, scale=scaling, enable_gqa=True)
    return attended.transpose(1, 2), None


@pytest.mark.usefixtures("flash")
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flash_attention_2"])
def test_bf16_is_as_far_off_as_bf16_is(loki: Trained, folder: Path, attention: str) -> None:
    """That of scores with folded positions in bf16 would be off by more than the logits' spread."""
    model = load(folder, "sdpa", torch.bfloat16)
    model.config._attn_implementation = attention
    with torch.no_grad():
        assert off(model(loki.samples[1024]).logits, loki.logits[1024]) < 0.04


@pytest.mark.usefixtures("flash")
@pytest.mark.parametrize("attention", ["sdpa", "eager", "flash_attention_2"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_cache_and_left_padding_change_nothing(loki: Trained, folder: Path, attention: str, dtype: torch.dtype) -> None:
    """A prompt of 300 tokens beside one of 180, whole, in pieces through the cache, and padded."""
    model = load(folder, "sdpa", dtype)
    model.config._attn_implementation = attention
    tolerance = 5e-5 if dtype == torch.float32 and attention != "flash_attention_2" else 0.03
    long, short = loki.samples[300][:1], loki.samples[300][1:, :180]
    padded = torch.cat([torch.zeros(1, 120, dtype=torch.long), short], dim=1)
    mask = torch.ones(2, 300, dtype=torch.long)
    mask[1, :120] = 0
    with torch.no_grad():
        alone = [model(tokens).logits.float() for tokens in (long, short)]
        both = model(torch.cat([long, padded]), attention_mask=mask).logits.float()
        past = model(torch.cat([long, padded])[:, :200], attention_mask=mask[:, :200], use_cache=True)
        pieces = [past.logits]
        for start, end in ((200, 201), (201, 300)):
            tokens = torch.cat([long, padded])[:, start:end]
            past = model(tokens, attention_mask=mask[:, :end], past_key_values=past.past_key_values, use_cache=True)
            pieces.append(past.logits)
    cached = torch.cat(pieces, dim=1).float()
    for found in (both, cached):
        assert off(found[:1], alone[0]) < tolerance
        assert off(found[1:, 120:], alone[1]) < tolerance


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_greedy_generation(loki: Trained, folder: Path, dtype: torch.dtype) -> None:
    """The answer is the same with each kind of cache and without one, alone and left-padded beside a longer prompt."""
    model = load(folder, dtype=dtype)
    prompts = [loki.samples[300][0, :40], loki.samples[300][1, :25]]
    tokens, mask = torch.zeros(2, 40, dtype=torch.long), torch.zeros(2, 40, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        tokens[row, 40 - len(prompt) :], mask[row, 40 - len(prompt) :] = prompt, 1
    options: dict[str, Any] = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False, "pad_token_id": 0}
    kinds: dict[str, dict[str, Any]] = {
        "dynamic": {},
        "static": {"cache_implementation": "static", "disable_compile": True},
        "none": {"use_cache": False},
    }
    found = {name: model.generate(tokens, attention_mask=mask, **options, **how)[:, 40:] for name, how in kinds.items()}
    alone = [model.generate(prompt[None], **options)[0, len(prompt) :] for prompt in prompts]
    if dtype == torch.float32:
        for name, continued in found.items():
            assert torch.equal(continued, torch.stack(alone)), name
    with torch.no_grad():
        for row, prompt in enumerate(prompts):
            logits = load(folder)(torch.cat([prompt, found["dynamic"][row]])[None]).logits[0, len(prompt) - 1 : -1]
            chosen = logits.gather(1, found["dynamic"][row][:, None])[:, 0]
            assert (logits.max(dim=1).values - chosen).max() <= (0 if dtype == torch.float32 else 0.1) * logits.std()


def test_an_attention_that_knows_no_alibi_is_refused_by_name(folder: Path, loki: Trained) -> None:
    with pytest.raises(ValueError, match="flex"):
        load(folder, "flex_attention")
    model = load(folder)
    ALL_ATTENTION_FUNCTIONS.register("their_own", plain_causal)
    model.config._attn_implementation = "their_own"
    with pytest.raises(ValueError, match=r"^attn_implementation=their_own: ALiBi would be left out; use sdpa"):
        model(loki.samples[7])


def test_it_trains_with_gradient_checkpointing(folder: Path, loki: Trained) -> None:
    tokens, gradients = loki.samples[300], []
    for checkpointing in (False, True):
        model = load(folder).train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        outputs = model(tokens, labels=tokens)
        expected = cross_entropy(outputs.logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
        torch.testing.assert_close(outputs.loss, expected)
        outputs.loss.backward()
        gradients.append({name: parameter.grad for name, parameter in model.named_parameters()})
    torch.testing.assert_close(gradients[0], gradients[1])


@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_from_hf_is_the_inverse(loki: Trained, dtype: str, tmp_path: Path) -> None:
    """File by file, tokenizer code and all, but for the card, which names the run, and the note, with its size."""
    to_hf(loki.checkpoint, tmp_path / "first", dtype=dtype)
    from_hf(tmp_path / "first", tmp_path / "run", loki.config)
    to_hf(tmp_path / "run", tmp_path / "second")
    names = sorted(path.name for path in (tmp_path / "first").iterdir())
    assert {"model.safetensors", CARD, CODE} < set(names)
    names = [name for name in names if name not in (CARD, NOTE)]
    assert cmpfiles(tmp_path / "first", tmp_path / "second", names, shallow=False) == (names, [], [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rope_theta": 10000.0}, r"rope_theta=10000\.0 cannot be converted"),
        ({"sliding_window": 24}, "sliding_window=24 cannot be converted"),
        ({"hidden_act": "gelu"}, 'hidden_act="gelu" cannot be converted'),
        ({"model_type": "llama"}, 'model_type="llama" cannot be converted; only "alibi_llama" can'),
        ({"num_hidden_layers": 2}, r"num_hidden_layers=2, but model\.num_layers=3"),
    ],
)
def test_another_model_is_refused(folder: Path, tmp_path: Path, change: dict[str, object], message: str) -> None:
    changed = shutil.copytree(folder, tmp_path / "changed")
    raw = json.loads((changed / "config.json").read_text())
    (changed / "config.json").write_text(json.dumps({**raw, **change}))
    with pytest.raises(UserError, match=message):
        from_hf(changed, tmp_path / "run", loki_config())


def test_danube_does_not_take_it(folder: Path, refused: Callable[..., None]) -> None:
    refused(folder, 'model_type="alibi_llama" cannot be converted; only "mistral" or "llama" can')
