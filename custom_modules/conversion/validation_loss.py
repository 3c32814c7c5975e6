"""An export's validation loss beside the one that the model had in training, at the same weights, on the same text."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Mapping
from itertools import chain, pairwise
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from custom_modules.config.schema import Config, TrainingConfig
from custom_modules.config.stages import Curriculum
from custom_modules.conversion.local_model import load_model
from custom_modules.data.documents import CU_SEQLENS, Documents, documents_of
from custom_modules.data.manifest import load_manifest
from custom_modules.data.verify import verify_part
from custom_modules.errors import UserError
from custom_modules.platform import Platform, device_of_one
from custom_modules.run_folder.checkpoint_files import Checkpoint
from custom_modules.run_folder.validation_record import ValidationRecord, sequences_sha256

TOLERANCE = 0.005
"""The largest difference that passes, as a part of the loss in training."""

CPU_TOKENS = 16_384
"""Tokens that a CPU compares, or one micro-batch where that is more; a GPU all that were recorded."""

LOGITS_AT_ONCE = 2_048
"""Positions whose logits are held in fp32."""

Sequences = list[list[dict[str, Tensor]]]
"""Of each the parts that see nothing of one another: ``input_ids`` and ``labels``, int64 ``[1, length]``, of which one
that is `IGNORED` is not scored, and further arguments of the model where it asks for them."""

IGNORED = -100


def compare_validation_losses(checkpoint: Checkpoint, single: TrainingConfig, hf_dir: Path) -> None:
    """Print both losses, or why they cannot be compared, to stderr.

    The export computes in its own dtype, on a GPU where there is one. The logits in fp32 cannot stand for this: an FP8
    run is only what it was in training where its kernels are.

    Args:
        checkpoint: that was exported.
        single: its config for one process on a CPU; ``data.dir`` is where the validation data is looked for.

    Raises:
        UserError: they differ by more than `TOLERANCE`, or an FP8 run's cannot be compared.
    """
    model, precision = checkpoint.config().model, checkpoint.config().trainer.precision
    try:
        record = _record(checkpoint)
        sequences = _sequences(single, record, checkpoint.progress.validation_limits)
    except UserError as error:
        message = f"{checkpoint.path}: its validation loss cannot be compared with the export's: {error}"
        if model.fp8 and checkpoint.consumed_tokens:
            raise UserError(f"{message}; nothing else tells what FP8 weights lose in an export") from None
        print(message, file=sys.stderr)
        return
    device = device_of_one()
    compared = len(record.losses)
    if device.type == "cpu":
        compared = min(compared, max(1, CPU_TOKENS // (record.micro_batch_size * record.seq_length)))
    sequences = sequences[: compared * record.micro_batch_size]
    weights = record.weights[:compared]
    tokens = sum(weights)
    trained = sum(loss * weight for loss, weight in zip(record.losses, weights, strict=False) if weight) / tokens
    exported = _loss(hf_dir, sequences, device)
    change = (exported - trained) / trained
    # Versions before 0.2 counted the rows that pad the vocabulary, which an export leaves out: until training had
    # pushed them down, its loss is the lower one.
    padding = model.padding_rows if checkpoint.progress.padding_has_share else 0
    print(
        f"validation loss, {tokens:,} tokens of {record.stage}: {trained:.5f} in training ({precision}"
        f"{f', FP8 {model.fp8}' if model.fp8 else ''}{f', {padding} rows of padding' if padding else ''}), "
        f"{exported:.5f} exported ({change:+.3%})",
        file=sys.stderr,
    )
    if not change <= TOLERANCE or (change < -TOLERANCE and not padding):
        raise UserError(
            f"{checkpoint.path}: the export's validation loss is {exported:.5f}, but {trained:.5f} in training on the "
            f"same {tokens:,} tokens: {abs(change):.2%} apart, more than {TOLERANCE:.1%}; it is no match for that model"
        )


def _record(checkpoint: Checkpoint) -> ValidationRecord:
    if not checkpoint.consumed_tokens:
        raise UserError("it has not been trained yet")
    objective = checkpoint.config().objective
    if objective != "next_token":
        raise UserError(f"objective={objective} has a loss of its own, not the cross-entropy of every token")
    record = checkpoint.progress.validation
    if record is None:
        raise UserError(
            f"there was no evaluation at {checkpoint.consumed_tokens:,} tokens; give the checkpoint of a stage's end, "
            "or another that trainer.val_every_n_tokens fell on"
        )
    return record


def _sequences(single: TrainingConfig, record: ValidationRecord, limits: Mapping[str, int] | None) -> Sequences:
    """Return the sequences that the record is of.

    Args:
        limits: what the run's documents were chosen by, if they were.

    Raises:
        UserError: they are not there, or others are.
    """
    from custom_modules.data.dataset import Dataset, validation_dataset
    from custom_modules.data.validation_set import ValidationWindows, choose_validation, read_validation

    assert isinstance(single, Config)
    manifest = load_manifest(single)
    for name in manifest.stages:
        for part in manifest.parts(name, "validation"):
            verify_part(part, single.model.vocab_size, manifest.eos_id)
    count = len(record.losses) * record.micro_batch_size
    stage = Curriculum.from_config(single).stage(record.stage)
    with tempfile.TemporaryDirectory() as cache, Platform.detect(single).running(single):
        dataset: Dataset
        if limits is None:
            dataset = validation_dataset(single, manifest, stage, Path(cache))
        else:
            chosen = read_validation(choose_validation(manifest, limits, Path(cache)))
            # Training had micro-batches of nothing behind the last, where they did not come out even over its ranks.
            dataset = ValidationWindows(chosen, record.seq_length, record.micro_batch_size, len(record.losses))
        if len(dataset) < count or sequences_sha256(dataset, count) != record.sha256:  # type: ignore[arg-type]
            raise UserError(f"data.dir={single.data.dir}: not the validation text that the run evaluated on")
        samples = [dataset[index] for index in range(count)]
    documents = documents_of(single, manifest.eos_id)
    return [_parts(sample, documents) for sample in samples]


def _parts(sample: Mapping[str, Tensor], documents: Documents | None) -> list[dict[str, Tensor]]:
    """Cut a window into the parts that see nothing of one another."""
    batch = {name: tensor[None] for name, tensor in sample.items() if name in ("tokens", "labels", "loss_mask")}
    length = batch["tokens"].shape[1]
    if documents:
        batch = documents.add_to(batch)
    labels = batch["labels"]
    if "loss_mask" in batch:
        labels = labels.masked_fill(batch["loss_mask"] == 0, IGNORED)
    given = {"input_ids": batch["tokens"], "labels": labels}
    if "position_ids" in batch:
        # Without a mask transformers would take positions that begin anew for documents that do not see each other.
        given |= {"position_ids": batch["position_ids"], "attention_mask": torch.ones(1, length, dtype=torch.int64)}
    ends = batch[CU_SEQLENS].tolist() if CU_SEQLENS in batch else [0, length]
    return [{name: tensor[:, start:end] for name, tensor in given.items()} for start, end in pairwise(ends)]


@torch.no_grad()
def _loss(hf_dir: Path, sequences: Sequences, device: torch.device) -> float:
    """Mean cross-entropy, in nats a token."""
    model = load_model(hf_dir).to(device)
    total, tokens = 0.0, 0
    for part in chain.from_iterable(sequences):
        given = {name: tensor.to(device) for name, tensor in part.items()}
        [labels] = given.pop("labels")
        logits = model(**given, use_cache=False).logits[0]
        for some, wanted in zip(logits.split(LOGITS_AT_ONCE), labels.split(LOGITS_AT_ONCE), strict=True):
            total += cross_entropy(some.float(), wanted, reduction="sum").item()
        tokens += int((labels != IGNORED).sum())
    return total / tokens
