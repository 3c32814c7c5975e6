"""A step of samples is that of the mean over its answers' tokens, however it is split, and as others compute it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.commands import free_ports
from tests.support.ranks import run_ranks
from tests.support.runs import checkpoints, tensors
from tests.support.sft_samples import make_base, write_conversations

ALONE = ["trainer.devices=1"]
PAIR = ["trainer.devices=2"]
WHOLE = "model.micro_batch_size=8"

ONE_PROCESS = {
    "whole": [*ALONE, WHOLE],
    **{f"micro-batches of {size}": [*ALONE, f"model.micro_batch_size={size}"] for size in (1, 2, 4)},
    "chunked loss": [*ALONE, "model.micro_batch_size=4", "model.cross_entropy_chunk_size=24"],
}
TWO_PROCESSES = {
    **{f"data parallel, micro-batches of {size}": [*PAIR, f"model.micro_batch_size={size}"] for size in (1, 2, 4)},
    "distributed optimizer": [*PAIR, "model.optim.name=distributed_fused_adam"],
    "FSDP": [*PAIR, "model.fsdp=true"],
    "FSDP, micro-batches of 1": [*PAIR, "model.fsdp=true", "model.micro_batch_size=1"],
    "context parallel": [*PAIR, "model.context_parallel_size=2"],
    "tensor parallel": [*PAIR, "model.tensor_model_parallel_size=2", "model.sequence_parallel=true"],
    "pipeline": [*PAIR, "model.pipeline_model_parallel_size=2"],
    "virtual pipeline": [
        *PAIR,
        "model.pipeline_model_parallel_size=2",
        "model.virtual_pipeline_model_parallel_size=2",
    ],
}


@pytest.fixture(scope="module")
def data(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Where the samples are, and the model that is fine-tuned."""
    folder = tmp_path_factory.mktemp("chats")
    model = prepared / "tokenizer" / "tokenizer.model"
    chats = write_conversations(folder / "chats", model)
    base = make_base(folder / "base", model, "model.num_layers=4")
    return [f"data.dir={chats}", f"model.restore_from_path={base}"]


@pytest.fixture(scope="module")
def found(data: list[str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All runs, by the way their batches were split."""
    from tests.support.sft_splits import train
    from tests.support.splits import train_in_turn

    folder = tmp_path_factory.mktemp("splits")
    for size, runs in ((1, ONE_PROCESS), (2, TWO_PROCESSES)):
        work = [(folder / name, [*data, *overrides]) for name, overrides in runs.items()]
        run_ranks(train_in_turn, (size, free_ports(len(work)), work, train), size)
    names = (*ONE_PROCESS, *TWO_PROCESSES)
    return {
        name: json.loads((folder / name / "found.json").read_text())
        | {"tensors": tensors(checkpoints(folder / name)[-1])}
        for name in names
    }


@pytest.mark.parametrize("split", [name for name in (*ONE_PROCESS, *TWO_PROCESSES) if name != "whole"])
@pytest.mark.slow
def test_any_split_of_a_batch_is_the_same_step(found: dict[str, dict[str, Any]], split: str) -> None:
    """Losses, gradient norms and weights, in whole steps and in the last one; a mean of means would be another."""
    expected, other = found["whole"], found[split]
    for one, two in zip(expected["steps"], other["steps"], strict=True):
        assert two[0] == pytest.approx(one[0], rel=1e-6)
        assert two[1:] == pytest.approx(one[1:], rel=1e-5)
    assert other["tokens"] == expected["tokens"]
    assert other["evaluated"] == pytest.approx(expected["evaluated"], rel=1e-6)
    weights = [name for name in expected["tensors"] if not name.startswith("optimizer.")]
    assert len(weights) == 9, "those of all layers are one"
    for name in weights:
        whole, parts = expected["tensors"][name], other["tensors"][name]
        assert (whole - parts).abs().max() <= 1e-5 * whole.abs().max(), name


def test_what_the_splits_are_told_apart_by(data: list[str]) -> None:
    """A rank has several times the answers of the other, and the last step is not whole."""
    from custom_modules.data.conversations import load_conversations
    from custom_modules.data.sample_steps import SampleSteps
    from tests.support.sft_splits import chosen, sft_config

    config = sft_config(*data, *PAIR, "model.micro_batch_size=1")
    train = load_conversations(config).train
    steps = chosen(SampleSteps(config, train.lengths))
    assert [len(step.real_samples) for step in steps] == [8, 8, 5]
    assert [len(step.samples) for step in steps] == [8, 8, 6]
    counts = [train.answer_tokens[list(step.micro_batch(0, rank))].sum() for step in steps[:2] for rank in range(2)]
    assert max(counts) > 2 * min(counts)


def test_the_step_is_that_of_a_plain_formula(data: list[str], single_process: None) -> None:
    """Sample by sample without padding, by autograd over one sum and one count."""
    from custom_modules.data.conversations import load_conversations
    from custom_modules.data.sample_steps import SampleSteps
    from custom_modules.model.build import build_model
    from custom_modules.run_folder.checkpoint_files import resolve
    from custom_modules.training.checkpoint import load_weights
    from tests.support.sft_splits import chosen, first_gradients, sft_config

    config = sft_config(*data, *ALONE, "model.micro_batch_size=4")
    train = load_conversations(config).train
    step = chosen(SampleSteps(config, train.lengths))[0]
    model = build_model(config, initial_weights=False)
    load_weights([model], resolve(Path(str(config.model.restore_from_path))))
    total, count = torch.zeros(()), 0
    for number in step.real_samples:
        ids, answers = (torch.from_numpy(array) for array in train[number])
        logits = model(ids[None, :-1], torch.arange(len(ids) - 1)[None], None)[0]
        total = total + torch.nn.functional.cross_entropy(logits[answers[1:]], ids[1:][answers[1:]], reduction="sum")
        count += int(answers[1:].sum())
    names, parameters = zip(*model.named_parameters(), strict=True)
    plain = dict(zip(names, torch.autograd.grad(total / count, parameters), strict=True))
    loss, gradients = first_gradients(config)
    assert loss == pytest.approx((total / count).item(), rel=1e-6)
    assert plain.keys() == gradients.keys()
    largest = max(float(gradient.abs().max()) for gradient in plain.values())
    for name, gradient in plain.items():
        assert (gradients[name] - gradient).abs().max() <= 1e-5 * largest, name


@pytest.mark.slow
def test_the_step_is_trls(
    data: list[str], single_process: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Loss and gradients of trl's SFTTrainer, on the same samples and an export of the same model."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    trl, datasets = pytest.importorskip("trl"), pytest.importorskip("datasets")
    import transformers

    from custom_modules.conversion.hf_export import to_hf
    from custom_modules.data.conversations import load_conversations
    from custom_modules.data.sample_steps import SampleSteps
    from tests.support.sft_splits import chosen, first_gradients, sft_config

    config = sft_config(*data, *ALONE)
    conversations = load_conversations(config)
    to_hf(Path(str(config.model.restore_from_path)), tmp_path / "hf")
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "hf", dtype=torch.float32)
    step = chosen(SampleSteps(config, conversations.train.lengths))[0]
    samples = [conversations.train[number] for number in step.real_samples]
    examples = [
        {"input_ids": ids.tolist(), "labels": [int(i) if said else -100 for i, said in zip(ids, answers, strict=True)]}
        for ids, answers in samples
    ]
    arguments = trl.SFTConfig(
        output_dir=str(tmp_path / "trl"),
        per_device_train_batch_size=len(examples),
        completion_only_loss=False,
        max_length=config.model.encoder_seq_length,
        gradient_checkpointing=False,
        bf16=False,
        report_to="none",
        use_cpu=True,
    )
    tokenizer = transformers.AutoTokenizer.from_pretrained(conversations.tokenizer_dir)
    trainer = trl.SFTTrainer(
        model, arguments, train_dataset=datasets.Dataset.from_list(examples), processing_class=tokenizer
    )
    batch = trainer.data_collator(examples)
    assert (batch["labels"] != -100).sum() == sum(int(answers[1:].sum()) for _, answers in samples)
    theirs = trainer.compute_loss(model, batch)
    theirs.backward()
    loss, gradients = first_gradients(config)
    assert loss == pytest.approx(theirs.item(), rel=1e-6)
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    ours = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients.values()))
    assert ours == pytest.approx(norm, rel=1e-5)
    pairs = {"embedding.word_embeddings.weight": model.model.embed_tokens, "output_layer.weight": model.lm_head}
    for name, module in pairs.items():
        rows = module.weight.grad
        assert (gradients[name][: len(rows)] - rows).abs().max() <= 1e-5 * rows.abs().max(), name
