"""Windows with teachers' targets, the objective of them by plain and dense means, and one batch trained any way."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from torch import Tensor

from custom_modules.config.load import load_config
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum
from custom_modules.data.batches import micro_batches
from custom_modules.data.dataset import Dataset
from custom_modules.data.random_tokens import RandomTokens
from custom_modules.platform import Platform
from custom_modules.platform.world import World
from custom_modules.training.engine import Engine, StepResult
from tests.support.splits import LAYERS
from tests.support.tiny import TINY, VOCAB_SIZE

SECTION = "+distillation={every_n_batches: 4, top_k: 4, teachers: {%s}%s}"
TOP_K = "oak: {targets: top_k}, elm: {targets: top_k}"
SEQUENCE = SECTION % (TOP_K, "")
TOKEN = SECTION % (TOP_K, ", minimum_over: token")
PREFIX = 6
MIXED = SECTION % (
    "oak: {targets: top_k}, ash: {targets: text}, elm: {targets: top_k}, fir: {targets: text}",
    f", prefix_tokens: {PREFIX}",
)
NAMES = ["ground_truth", "oak", "elm", "ash", "fir"]
"""In the order of their numbers."""


def config_of(section: str, *overrides: str) -> Config:
    return load_config("danube_rehearsal", [*TINY, *LAYERS, section, *overrides])


class Distilled(Dataset):
    """Random windows with two teachers' rows of four tokens, and two alternatives where they are asked for.

    Teachers say nothing of some tokens, one of them nothing of every fourth window, and give the token itself more and
    less, so that each wins. Every fifth window has an alternative that is left out, and all end at another token.
    """

    fields: tuple[str, ...] = ("tokens", "labels", "teacher_ids", "teacher_probabilities")

    def __init__(self, seq_length: int, texts: bool = False) -> None:
        self.seq_length = seq_length
        if texts:
            alternatives = ("alternative_tokens", "alternative_labels", "alternative_mask")
            self.fields = (*Distilled.fields, "loss_mask", *alternatives)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(index)
        length = self.seq_length
        window = torch.randint(0, VOCAB_SIZE, (length + 1,), generator=generator)
        scores = torch.rand(length, 2, VOCAB_SIZE, generator=generator)
        ids = scores.topk(4).indices
        # Either teacher knows some windows well: it tells tokens that are frequent there.
        ids[:, index % 2, 0] = 3
        window[::3] = 3
        probabilities = torch.rand(length, 2, 4, generator=generator)
        probabilities[:, index % 2, 0] += 3
        probabilities[torch.rand(length, 2, generator=generator) < 0.2] = 0
        if index % 4 == 0:
            probabilities[:, 1] = 0
        sample = {
            "tokens": window[:-1],
            "labels": window[1:],
            "teacher_ids": ids.to(torch.int32),
            "teacher_probabilities": probabilities / probabilities.sum(dim=-1, keepdim=True).clamp(min=1),
        }
        if "loss_mask" in self.fields:
            texts = torch.randint(0, VOCAB_SIZE, (2, length + 1), generator=generator)
            texts[index % 2, index % 7 :] = 3
            ends = torch.randint(PREFIX + 1, length, (3,), generator=generator)
            if index % 5 == 0:
                ends[2] = 0
            places = torch.arange(length)
            masks = ((places >= PREFIX) & (places < ends.unsqueeze(-1))).float()
            sample |= {"loss_mask": masks[0], "alternative_mask": masks[1:]}
            sample |= {"alternative_tokens": texts[:, :-1], "alternative_labels": texts[:, 1:]}
        return sample


def dense_losses(logits: Tensor, batch: dict[str, Tensor]) -> Tensor:
    """``[b, s, 1 + T]`` in fp64 of ``[b, s, v]`` logits, by whole distributions."""
    logs = torch.log_softmax(logits.double(), dim=-1)
    found = [-logs.gather(-1, batch["labels"].unsqueeze(-1)).squeeze(-1)]
    ids, probabilities = batch["teacher_ids"].long(), batch["teacher_probabilities"].double()
    for teacher in range(ids.shape[2]):
        dense = torch.zeros_like(logs).scatter_add_(-1, ids[:, :, teacher], probabilities[:, :, teacher])
        mass = dense.sum(dim=-1)
        loss = -(dense * logs).sum(dim=-1) / torch.where(mass == 0, 1, mass)
        found.append(torch.where(mass == 0, found[0], loss))
    return torch.stack(found, dim=-1)


def objective_by_hand(model: Any, batch: dict[str, Tensor], over: str) -> tuple[Tensor, float, list[int]]:
    """The mean of the smallest, differentiable; the ground truth's mean, and wins by target; sequence by sequence."""

    def logits(tokens: Tensor) -> Tensor:
        found: Tensor = model(tokens, batch["position_ids"][: len(tokens)], None)
        return found

    losses = dense_losses(logits(batch["tokens"]), batch)
    mask = batch.get("loss_mask", torch.ones_like(losses[..., 0])).double()
    own = (losses[..., 0] * mask).sum() / mask.sum()
    said = (batch["teacher_probabilities"] != 0).any(dim=-1)
    wins = [0] * len(NAMES)
    total, tokens = torch.zeros((), dtype=torch.float64), torch.zeros((), dtype=torch.float64)
    for row in range(len(losses)):
        if over == "token":
            for place in range(losses.shape[1]):
                best = int(losses[row, place].argmin())
                wins[best] += 1
                total, tokens = total + losses[row, place, best], tokens + 1
            continue
        candidates = [(losses[row, :, 0], mask[row], 0)]
        for teacher in range(2):
            if (said[row, :, teacher] & (mask[row] > 0)).any():
                candidates.append((losses[row, :, 1 + teacher], mask[row], 1 + teacher))
        if "alternative_tokens" in batch:
            texts, labels = batch["alternative_tokens"][row], batch["alternative_labels"][row]
            of_texts = torch.log_softmax(logits(texts).double(), dim=-1)
            nats = -of_texts.gather(-1, labels.unsqueeze(-1)).squeeze(-1)
            for number, counts in enumerate(batch["alternative_mask"][row].double()):
                if counts.any():
                    candidates.append((nats[number], counts, 3 + number))
        nats, counts, best = min(candidates, key=lambda one: ((one[0] * one[1]).sum() / one[1].sum()).item())
        wins[best] += 1
        total, tokens = total + (nats * counts).sum(), tokens + counts.sum()
    return total / tokens, own.item(), wins


def first_batch(config: Config) -> dict[str, Tensor]:
    """The first step's, all in one micro-batch."""
    stage = Curriculum.from_config(config).stages[0]
    assert config.distillation
    dataset = Distilled(stage.seq_length, bool(config.distillation.texts))
    return next(micro_batches(dataset, stage, 0, stage.num_samples, 0, VOCAB_SIZE))


def train(folder: Path, overrides: list[str], world: World) -> None:
    """Train two distilled steps and a plain one, evaluate, and leave the numbers in a folder."""
    section, *layout = overrides
    config = config_of(section, *layout)
    assert config.distillation
    platform = Platform.detect(config, world)
    with platform.running(config):
        curriculum = Curriculum.from_config(config)
        engine, stage = Engine(config, curriculum, platform), curriculum.stages[0]
        rank = parallel_state.get_data_parallel_rank()
        steps = []
        for dataset, count in (
            (Distilled(stage.seq_length, bool(config.distillation.texts)), 2),
            (RandomTokens(stage.seq_length, VOCAB_SIZE), 1),
        ):
            batches = micro_batches(dataset, stage, 0, stage.num_samples, rank, VOCAB_SIZE)
            steps += [_plain(engine.train_step(batches, stage)) for _ in range(count)]
        losses = engine.evaluate(batches, stage, stage.num_microbatches)
        folder.mkdir(parents=True, exist_ok=True)
        if world.rank == 0:
            (folder / "found.json").write_text(json.dumps({"steps": steps, "losses": losses}))


def _plain(step: StepResult) -> dict[str, Any]:
    numbers = {"loss": step.loss, "grad_norm": step.grad_norm, "learning_rate": step.learning_rate}
    return {**numbers, "distilled": asdict(step.distilled) if step.distilled else None}


def compare_with_dense(section: str, rank: int, size: int) -> None:
    """Losses and their gradients, of this rank's columns, are those of dense fp64 within 1e-6 of the largest."""
    from custom_modules.model.targets import Targets

    batch = first_batch(config_of(section, "trainer.devices=1", "model.micro_batch_size=16"))
    generator = torch.Generator().manual_seed(11)
    logits = 3 * torch.randn(*batch["labels"].shape, VOCAB_SIZE, generator=generator)
    weights = torch.rand(*batch["labels"].shape, 3, generator=generator)
    whole = logits.double().requires_grad_()
    expected = dense_losses(whole, batch)
    (expected * weights).sum().backward()
    columns = logits.chunk(size, dim=-1)[rank].transpose(0, 1).contiguous().requires_grad_()
    targets = Targets(batch["labels"], batch["teacher_ids"], batch["teacher_probabilities"])
    found = targets.cross_entropies(columns.clone())
    (found * weights).sum().backward()
    assert whole.grad is not None and columns.grad is not None
    gradient = whole.grad.chunk(size, dim=-1)[rank].transpose(0, 1)
    assert (found - expected).abs().max() <= 1e-6 * expected.abs().max()
    assert (columns.grad - gradient).abs().max() <= 1e-6 * whole.grad.abs().max()
