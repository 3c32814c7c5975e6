"""A model built beside the fake Transformer Engine, looked at from inside; prints one JSON object."""

from __future__ import annotations

import itertools
import json
import sys
import traceback
from typing import Any

import torch

from custom_modules.config.load import load_config
from custom_modules.platform import Platform, megatron

megatron.GPU_PACKAGES = ()
megatron.import_megatron()

from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear, VocabParallelEmbedding  # noqa: E402
from transformer_engine.common.recipe import DelayedScaling, Float8BlockScaling, Float8CurrentScaling  # noqa: E402
from transformer_engine.pytorch import DotProductAttention, Linear  # noqa: E402
from transformer_engine.pytorch.quantization import FP8GlobalStateManager  # noqa: E402

from custom_modules.data.documents import Documents  # noqa: E402
from custom_modules.errors import UserError  # noqa: E402
from custom_modules.model.build import build_model  # noqa: E402
from custom_modules.model.language_model import LanguageModel  # noqa: E402
from custom_modules.model.packed_documents import in_one_row, packed_documents  # noqa: E402
from custom_modules.platform.kernels import LOCAL, Kernels, choose_kernels, find_software  # noqa: E402

TE = Kernels(transformer_engine=True, fused_elementwise=True)
FUSED = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
"""The norms that Transformer Engine fuses, and what they are called without it."""

DTYPES = {torch.bfloat16: "bf16", torch.float32: "fp32"}


def main() -> None:
    """``{"logits": OVERRIDES, "alibi": OVERRIDES, KIND: {NAME: OVERRIDES}}``, of what is examined."""
    asked = json.loads(sys.argv[1])
    running = load_config("danube_rehearsal", asked["logits"])
    with Platform.detect(running).running(running):
        found: dict[str, Any] = {"logits": compare_logits(asked["logits"]), "precision": {}}
        found["meta"] = {"local": on_meta(asked["logits"], LOCAL), "fused": on_meta(asked["logits"], TE)}
        for name, overrides in asked["precision"].items():
            kernels = LOCAL if name.startswith("local") else TE
            found["precision"][name] = precisions(overrides, kernels)
        found["alibi"] = alibi(asked["alibi"])
        found["documents"] = {name: documents(overrides) for name, overrides in asked["documents"].items()}
        found["padding"] = {name: padding(overrides, TE) for name, overrides in asked["padding"].items()}
        found["attention"] = {name: attention(overrides) for name, overrides in asked["attention"].items()}
    print(json.dumps(found))


def compare_logits(overrides: list[str]) -> dict[str, Any]:
    """Print how far both implementations differ with the same weights: initially, then with uneven norms."""
    config = load_config("danube_rehearsal", overrides)
    local, fused = build_model(config).eval(), build_model(config, kernels=TE).eval()
    weights = dict(local.named_parameters())
    pairs = [(parameter, weights[unfused(name)]) for name, parameter in fused.named_parameters()]
    same = len(pairs) == len(weights) and all(torch.equal(one, other) for one, other in pairs)
    with torch.no_grad():
        for name, parameter in weights.items():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
        for one, other in pairs:
            one.copy_(other)
        differences = {}
        for length in (40, 95, 96, 97, 400):
            tokens = torch.randint(0, config.model.vocab_size, (2, length))
            place = torch.arange(length)[None]
            expected, logits = local(tokens, place, None), fused(tokens, place, None)
            differences[length] = (expected - logits).abs().max().item()
    return {"same_initial_weights": same, "largest": expected.abs().max().item(), "differences": differences}


def on_meta(overrides: list[str], kernels: Kernels) -> str:
    """Build a model under the meta device; its parameters' devices, or which of megatron-core's functions fails."""
    try:
        with torch.device("meta"):
            model = build_model(load_config("danube_rehearsal", overrides), initial_weights=False, kernels=kernels)
    except (RuntimeError, NotImplementedError) as error:
        frames = traceback.extract_tb(error.__traceback__)
        return [frame.name for frame in frames if "megatron" in frame.filename][-1]
    return " ".join({parameter.device.type for parameter in model.parameters()})


def alibi(overrides: list[str]) -> dict[str, Any]:
    """Compare both implementations in fp32, and how far each in bf16 is from the local one in fp32."""
    single = load_config("danube_rehearsal", [*overrides, "trainer.precision=32-true"])
    half = load_config("danube_rehearsal", [*overrides, "trainer.precision=bf16-mixed"])
    models = [build_model(single), build_model(single, kernels=TE), build_model(half), build_model(half, kernels=TE)]
    tokens = torch.randint(0, single.model.vocab_size, (2, 600), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = (model.eval()(tokens, torch.arange(600)[None], None).float() for model in models)
        truth, *others = (found[..., : single.model.vocab_size] for found in logits)
    attention = models[3].decoder.layers[0].self_attention.core_attention
    return {
        "spread": truth.std().item(),
        "errors": [(found - truth).square().mean().sqrt().item() for found in others],
        "attention": [type(model.decoder.layers[0].self_attention.core_attention).__name__ for model in models],
        "kv_channels": attention.kv_channels,
        "softmax_scale": attention.softmax_scale,
    }


def documents(overrides: list[str]) -> dict[str, Any] | str:
    """Compare a window's logits and gradients with those of its documents alone, or say why there are none."""
    config = load_config("danube_rehearsal", [*overrides, "data.reset_attention_mask=true"])
    try:
        # Nothing that is compiled, for each length anew.
        model = build_model(config, kernels=Kernels(transformer_engine=True))
    except UserError as error:
        return str(error)
    ends = [0, 1, 2, 40, 200, 201, 400]
    lengths = [end - start for start, end in itertools.pairwise(ends)]
    tokens = torch.randint(1, config.model.vocab_size, (2, 200), generator=torch.Generator().manual_seed(0))
    tokens.flatten()[[end - 1 for end in ends[1:]]] = 0
    place = torch.arange(200).expand(2, -1)
    batch = Documents(0, separate=True, restart=False, forget=False).add_to({"tokens": tokens, "position_ids": place})
    packed = packed_documents(batch, fused=True)
    found = model(in_one_row(tokens), in_one_row(place), None, packed_seq_params=packed)[0]
    alone = [
        model(part, torch.arange(part.shape[1])[None], None)[0] for part in in_one_row(tokens).split(lengths, dim=1)
    ]
    both = [found, torch.cat(alone)]
    pairs = [both, *zip(*(gradients(model, logits) for logits in both), strict=True)]
    apart = [((one - other).float().norm() / other.float().norm()).item() for one, other in pairs]
    attends = model.decoder.layers[0].self_attention.core_attention
    return {"logits": apart[0], "gradients": max(apart[1:]), "attention": [type(attends).__name__, attends.backend]}


def gradients(model: LanguageModel, logits: torch.Tensor) -> tuple[torch.Tensor, ...]:
    upstream = torch.randn(logits.shape, generator=torch.Generator().manual_seed(1)).to(logits.dtype)
    return torch.autograd.grad(logits, list(model.parameters()), upstream)


def unfused(name: str) -> str:
    for fused, local in FUSED.items():
        name = name.replace(fused, local)
    return name


def precisions(overrides: list[str], kernels: Kernels) -> dict[str, Any]:
    """What every linear of a model was run in, by a training pass and by an evaluation."""
    config = load_config("danube_rehearsal", overrides)
    model = build_model(config, kernels=kernels)
    seen: dict[str, list[Any]] = {}
    for name, module in model.named_modules():
        if isinstance(module, (Linear, ColumnParallelLinear, RowParallelLinear, VocabParallelEmbedding)):
            seen[name] = []
            module.register_forward_hook(lambda module, _, out, name=name: seen[name].append(noted(module, out)))
    step(model.train(), config.model.vocab_size).backward()
    with torch.no_grad():
        step(model.eval(), config.model.vocab_size)
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    for name, notes in seen.items():
        assert len(notes) == 2 and notes[0] == notes[1], (name, notes)
    return {name: notes[0] for name, notes in seen.items()}


def attention(overrides: list[str]) -> dict[str, Any]:
    """Which kernels a GPU gets, and what then attends: the names that Transformer Engine has for it, or none."""
    config = load_config("danube_rehearsal", overrides)
    kernels = choose_kernels(config, "gpu", find_software("gpu"))
    model = build_model(config, kernels=kernels)
    step(model.train(), config.model.vocab_size).backward()
    used = {module.backend for module in model.modules() if isinstance(module, DotProductAttention)}
    return {"transformer_engine": kernels.transformer_engine, "backends": sorted(used), "notes": kernels.notes}


def padding(overrides: list[str], kernels: Kernels) -> dict[str, Any]:
    """What columns that pad the vocabulary get of the probability, and their weights of the gradient."""
    config = load_config("danube_rehearsal", overrides)
    real, model = config.model.vocab_size, build_model(config, kernels=kernels)
    head, embedding = model.output_layer.weight, model.embedding.word_embeddings.weight
    with torch.no_grad():
        head[real:] = 1.0
    step(model.train(), real).backward()
    with torch.no_grad():
        logits = model(torch.arange(64)[None] % real, torch.arange(64)[None], None)
    gradients = torch.cat([head.grad[real:], embedding.grad[real:]])
    return {
        "rows": head.shape[0] - real,
        "largest_probability": logits.float().softmax(dim=-1)[..., real:].max().item(),
        "largest_gradient": gradients.abs().max().item(),
        "real_gradient": head.grad[:real].abs().max().item(),
        "finite": all(bool(parameter.grad.isfinite().all()) for parameter in model.parameters()),
    }


def step(model: LanguageModel, vocab_size: int) -> torch.Tensor:
    tokens = torch.randint(0, vocab_size, (2, 64))
    return model(tokens, torch.arange(64)[None], None, labels=tokens).float().mean()


def noted(module: torch.nn.Module, out: Any) -> list[Any]:
    """Precision, format, recipe and its settings, of a linear that was just called."""
    if not isinstance(module, Linear):
        assert not FP8GlobalStateManager.is_fp8_enabled(), module
        return [DTYPES[(out[0] if isinstance(out, tuple) else out).dtype], None, None, None]
    dtype, recipe = module.ran
    if recipe is None:
        return [DTYPES[dtype], None, None, None]
    kind = next(kind for kind in (DelayedScaling, Float8CurrentScaling, Float8BlockScaling) if isinstance(recipe, kind))
    return ["fp8", recipe.fp8_format.name, kind.__name__, settings(recipe)]


def settings(recipe: Any) -> list[Any]:
    return [getattr(recipe, key, None) for key in ("margin", "amax_history_len", "amax_compute_algo")]


if __name__ == "__main__":
    main()
