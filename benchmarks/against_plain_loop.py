"""Times training steps of one contender, in a process of its own. Run by ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import inspect
import json
import time
import timeit
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.platform import Platform
from custom_modules.platform.cpu_adapter import FACTORIES
from custom_modules.platform.environment import import_megatron_for

SHAPES = {
    "rehearsal": ["trainer.devices=1"],
    "512x8x512": [
        "trainer.devices=1",
        "model.num_layers=8",
        "model.hidden_size=512",
        "model.ffn_hidden_size=1408",
        "model.encoder_seq_length=512",
        "model.global_batch_tokens=2048",
        "model.micro_batch_size=4",
    ],
}


def batches(config: Config, stage: Stage) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(0)
    shape = (stage.micro_batch_size, stage.seq_length + 1)
    position_ids = torch.arange(stage.seq_length).expand(stage.micro_batch_size, -1)
    while True:
        window = torch.randint(0, config.model.vocab_size, shape, generator=generator)
        yield {
            "tokens": window[:, :-1].contiguous(),
            "labels": window[:, 1:].contiguous(),
            "position_ids": position_ids,
        }


def peer_step(config: Config, stage: Stage) -> Callable[[], None]:
    """A plain PyTorch loop over transformers' MistralForCausalLM: the same shape, batch, dtype and optimizer."""
    from transformers import MistralConfig, MistralForCausalLM

    model_config = config.model
    sizes: Any = MistralConfig
    model = MistralForCausalLM(
        sizes(
            vocab_size=model_config.vocab_size,
            hidden_size=model_config.hidden_size,
            intermediate_size=model_config.ffn_hidden_size,
            num_hidden_layers=model_config.num_layers,
            num_attention_heads=model_config.num_attention_heads,
            num_key_value_heads=model_config.num_query_groups,
            head_dim=model_config.head_dim,
            sliding_window=model_config.sliding_window,
            max_position_embeddings=stage.seq_length,
            attn_implementation="sdpa",
            use_cache=False,
        )
    )
    optim = model_config.optim
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=optim.lr, betas=optim.betas, eps=optim.eps, weight_decay=optim.weight_decay
    )
    stream = batches(config, stage)

    def step() -> None:
        optimizer.zero_grad()
        for _ in range(stage.num_microbatches):
            batch = next(stream)
            logits = model(batch["tokens"]).logits
            loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch["labels"].flatten())
            (loss / stage.num_microbatches).backward()
        if optim.clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), optim.clip_grad)
        optimizer.step()

    return step


def our_step(config: Config, platform: Platform, stage: Stage, curriculum: Curriculum) -> Callable[[], None]:
    from custom_modules.training.engine import Engine

    engine = Engine(config, curriculum, platform)
    stream = batches(config, stage)

    def step() -> None:
        engine.train_step(stream, stage)

    return step


def adapter_cost(step: Callable[[], None]) -> dict[str, float]:
    """What the CPU adapter's replaced names cost one step: how often they are called, times what a call costs more."""
    calls = 0
    adapted = {name: getattr(torch, name) for name in FACTORIES}

    def counting(factory: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def build(*args: object, **kwargs: object) -> Tensor:
            nonlocal calls
            calls += 1
            return factory(*args, **kwargs)

        return build

    for name, factory in adapted.items():
        setattr(torch, name, counting(factory))
    try:
        step()
    finally:
        for name, factory in adapted.items():
            setattr(torch, name, factory)
    plain = min(timeit.repeat(lambda: inspect.unwrap(torch.zeros)(1), number=20_000)) / 20_000
    through = min(timeit.repeat(lambda: torch.zeros(1, device="cuda"), number=20_000)) / 20_000
    return {"adapter_calls": calls, "adapter_seconds": calls * (through - plain)}


def measure(step: Callable[[], None], stage: Stage, steps: int) -> float:
    """Median tokens/s of ``steps`` steps after two to warm up."""
    rates = []
    for number in range(steps + 2):
        begun = time.perf_counter()
        step()
        if number >= 2:
            rates.append(stage.global_batch_tokens / (time.perf_counter() - begun))
    return sorted(rates)[len(rates) // 2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("contender", choices=("ours", "peer"))
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--stage", default="stage1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=5)
    options = parser.parse_args()
    config = load_config("danube_rehearsal", [*SHAPES[options.shape], f"trainer.cpu_threads={options.threads}"])
    import_megatron_for(config)
    curriculum = Curriculum.from_config(config)
    stage = curriculum.stage(options.stage)
    torch.set_num_threads(options.threads)
    extra: dict[str, float] = {}
    if options.contender == "peer":
        rate = measure(peer_step(config, stage), stage, options.steps)
    else:
        platform = Platform.detect(config)
        with platform.running(config):
            step = our_step(config, platform, stage, curriculum)
            rate = measure(step, stage, options.steps)
            extra = adapter_cost(step)
            extra["adapter_share"] = extra["adapter_seconds"] * rate / stage.global_batch_tokens
    print(json.dumps({"tokens_per_second": rate, **extra}))


if __name__ == "__main__":
    main()
