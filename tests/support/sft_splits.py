"""Steps of samples, trained under every way to split them over micro-batches and processes."""

from __future__ import annotations

import json
from dataclasses import astuple
from pathlib import Path

import torch
from megatron.core import parallel_state

from custom_modules.config.load import load_config
from custom_modules.config.sft import SftConfig
from custom_modules.data.conversations import load_conversations
from custom_modules.data.sample_batches import SampleLoader
from custom_modules.data.sample_steps import SampleStep, SampleSteps
from custom_modules.platform import Platform
from custom_modules.platform.world import World
from custom_modules.run_folder.initial_weights import find_pretrained
from custom_modules.run_folder.progress import Progress
from custom_modules.training.answers_validation import AnswersValidation
from custom_modules.training.checkpoint import load_initial_weights, save_checkpoint
from custom_modules.training.engine import Engine
from tests.support.sft_samples import SFT

LAYERS = ["model.num_layers=4", "model.optim.lr=0.01", "model.optim.eps=0.001"]
"""With so large an eps an update is about proportional to its gradient, where that is mere rounding too."""


def sft_config(*overrides: str) -> SftConfig:
    return load_config("danube_sft_rehearsal", [*SFT, *LAYERS, *overrides], kind=SftConfig)


def chosen(steps: SampleSteps) -> list[SampleStep]:
    """Return a run's first two steps, and its last one, which is not whole."""
    every = list(steps.from_step(0))
    return [*every[:2], every[-1]]


def train(folder: Path, overrides: list[str], world: World) -> None:
    """Train these steps, evaluate, and leave numbers, the first gradients and a checkpoint in a folder."""
    config = sft_config(*overrides)
    platform = Platform.detect(config, world)
    with platform.running(config):
        conversations = load_conversations(config)
        steps = SampleSteps(config, conversations.train.lengths)
        engine = Engine(config, steps, platform, initial_weights=False)
        load_initial_weights(engine, find_pretrained(config, conversations))
        rank = parallel_state.get_data_parallel_rank()
        loader = SampleLoader(conversations.pad_id, config.model.vocab_size, rank, platform.device, 2)
        results = []
        with loader.open(conversations.train, chosen(steps)) as batches:
            for step in chosen(steps):
                results.append(astuple(engine.train_step(batches, step)))
        evaluated = AnswersValidation(config, conversations.validation).evaluate(engine, loader)
        tokenizer = folder / "tokenizer"
        tokenizer.mkdir(parents=True, exist_ok=True)
        save_checkpoint(engine, folder, Progress(1, 1, "sft"), tokenizer, "", set())
        if world.rank == 0:
            found = {"steps": results, "evaluated": evaluated.loss, "tokens": evaluated.tokens}
            (folder / "found.json").write_text(json.dumps(found))


def first_gradients(config: SftConfig) -> tuple[float, dict[str, torch.Tensor]]:
    """Return loss and gradients of the first step, of one process; needs the ``single_process`` fixture."""
    conversations = load_conversations(config)
    steps = SampleSteps(config, conversations.train.lengths)
    engine = Engine(config, steps, Platform.detect(config), initial_weights=False)
    load_initial_weights(engine, find_pretrained(config, conversations))
    loader = SampleLoader(conversations.pad_id, config.model.vocab_size, 0, engine.device, 2)
    step = chosen(steps)[0]
    with loader.open(conversations.train, [step]) as batches:
        sums = engine.forward_backward(batches, step, step.num_microbatches)
    total, tokens = torch.stack(sums).sum(dim=0)
    gradients = {name: parameter.main_grad.clone() for name, parameter in engine.chunks[0].named_parameters()}
    return float(total / tokens), gradients
