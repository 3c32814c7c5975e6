"""An export has the validation loss that its run had, or is refused; what cannot be compared is said."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from custom_modules.config.load import load_config
from custom_modules.conversion import to_hf, validation_loss
from custom_modules.conversion import verify as verify_on_text
from custom_modules.conversion.validation_loss import compare_validation_losses
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import UserError
from custom_modules.platform.megatron import import_megatron
from custom_modules.run_folder.checkpoint_files import open_checkpoint
from tests.support.commands import run_danube
from tests.support.runs import checkpoints, read_metrics
from tests.support.strangers import snapshot
from tests.support.tiny import TINY

Run = subprocess.CompletedProcess[str]
LINE = re.compile(
    r"validation loss, ([\d,]+) tokens of (\w+): ([\d.]+) in training \((.+)\), ([\d.]+) exported \(([+-][\d.]+)%\)\n"
)


verify = partial(verify_on_text, text="Some text.")


@pytest.fixture(scope="module")
def run_dir(danube: Callable[..., Run], prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two processes in fp32, with all its checkpoints; it was evaluated at some of them."""
    folder = tmp_path_factory.mktemp("run")
    done = danube(
        *["pretrain", "--config-name", "danube_rehearsal", *TINY, f"data.dir={prepared}", "trainer.devices=2"],
        *[f"exp_manager.exp_dir={folder}", "exp_manager.name=run"],
        "exp_manager.checkpoint_callback_params.save_last_n=10",
    )
    assert done.returncode == 0, done.stderr
    import_megatron()
    return folder / "run"


@pytest.fixture
def checkpoint(run_dir: Path, tmp_path: Path) -> Path:
    """The last one, to change."""
    return shutil.copytree(checkpoints(run_dir)[-1], tmp_path / checkpoints(run_dir)[-1].name)


def change(checkpoint: Path, change: Callable[[dict[str, Any]], None]) -> None:
    metadata = json.loads((checkpoint / "metadata.json").read_text())
    change(metadata)
    (checkpoint / "metadata.json").write_text(json.dumps(metadata))


def as_fp8(metadata: dict[str, Any]) -> None:
    metadata["config"]["model"]["fp8"] = "hybrid"
    metadata["config"]["trainer"]["precision"] = "bf16-mixed"


def without_record(metadata: dict[str, Any]) -> None:
    """The checkpoint is as they were before they had a record."""
    del metadata["progress"]["validation"]


@pytest.mark.parametrize(("tokens", "dtype"), [(7_168, "fp32"), (10_240, "fp32"), (10_240, "bf16")])
@pytest.mark.slow
def test_an_export_has_the_loss_of_the_run(
    run_dir: Path, tokens: int, dtype: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The losses are those at the ends of both stages, in their sequence lengths."""
    (logged,) = (line for line in read_metrics(run_dir, "validation") if line["tokens"] == tokens)
    (path,) = (path for path in checkpoints(run_dir) if open_checkpoint(path).consumed_tokens == tokens)
    to_hf(path, tmp_path / "hf", dtype, check=verify)
    found = LINE.search(capfd.readouterr().err)
    assert found
    compared, stage, trained, precision, exported, apart = found.groups()
    record = open_checkpoint(path).progress.validation
    assert record
    assert (compared, stage, precision) == (f"{sum(record.weights):,}", logged["stage"], "32-true")
    assert 900 < sum(record.weights) <= 1024
    assert float(trained) == pytest.approx(logged["loss"], abs=1e-5)
    assert float(exported) == pytest.approx(float(trained), rel=1e-5 if dtype == "fp32" else 2e-3)
    assert float(apart) == pytest.approx(100 * (float(exported) / float(trained) - 1), abs=0.001)


@pytest.mark.slow
@pytest.mark.parametrize("keys", [["reset_attention_mask", "eod_mask_loss"], ["reset_position_ids"]])
def test_an_export_has_the_loss_of_documents_as_they_were_seen(
    danube: Callable[..., Run],
    tiny: Callable[..., list[str]],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    keys: list[str],
) -> None:
    """With a learning rate that makes attention to other documents count."""
    asked = [*(f"data.{key}=true" for key in keys), "curriculum.stage=stage1", "model.optim.lr=0.02"]
    done = danube(*tiny("run", "trainer.devices=1", "model.init_method_std=0.2", *asked))
    assert done.returncode == 0, done.stderr
    import_megatron()
    capfd.readouterr()
    to_hf(tmp_path / "run", tmp_path / "hf", "fp32", check=verify)
    found = LINE.search(capfd.readouterr().err)
    assert found
    assert float(found[5]) == pytest.approx(float(found[3]), rel=1e-5)


def test_a_checkpoint_without_an_evaluation(run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    first = checkpoints(run_dir)[0]
    to_hf(first, tmp_path / "hf", check=verify)
    assert (
        f"{first}: its validation loss cannot be compared with the export's: there was no evaluation at 2,048 tokens; "
        "give the checkpoint of a stage's end, or another that trainer.val_every_n_tokens fell on\n"
    ) in capfd.readouterr().err


def test_the_loss_of_another_objective(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nothing is compared: its mean is not over all tokens."""
    change(checkpoint, lambda metadata: metadata["config"].update(objective="masked"))
    to_hf(checkpoint, tmp_path / "hf", check=verify)
    said = capfd.readouterr().err
    assert "its validation loss cannot be compared" in said and "objective=masked" in said
    assert not LINE.search(said)


def test_a_cpu_compares_the_first_of_them(
    run_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the same ones, though two processes evaluated them in turn."""
    record = open_checkpoint(checkpoints(run_dir)[-1]).progress.validation
    assert record
    losses = [loss for loss, tokens in zip(record.losses, record.weights, strict=True) if tokens == 128]
    assert len(losses) >= 7
    for limit, compared in ((1, 1), (4 * 128 - 1, 3)):
        monkeypatch.setattr(validation_loss, "CPU_TOKENS", limit)
        to_hf(run_dir, tmp_path / "hf", overwrite=True, check=verify)
        found = LINE.search(capfd.readouterr().err)
        assert found
        assert found[1] == f"{compared * 128:,}"
        assert float(found[3]) == pytest.approx(sum(losses[:compared]) / compared, abs=1e-5)
        assert float(found[5]) == pytest.approx(float(found[3]), rel=1e-5)
        assert abs(float(found[3]) / (sum(losses) / len(losses)) - 1) > 1e-4, "others would have another loss"


def test_a_changed_weight_is_refused(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody looked at the logits."""

    def harm(folder: Path) -> None:
        weights = load_file(folder / "model.safetensors")
        weights["lm_head.weight"] *= 1.5
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    def check(path: Path, folder: Path) -> None:
        harm(folder)
        verify(path, folder)

    monkeypatch.setattr("custom_modules.conversion.verification.ABSOLUTE_TOLERANCE", float("inf"))
    message = r"the export's validation loss is \d\.\d+, but \d\.\d+ in training .*% apart, more than 0\.5%"
    with pytest.raises(UserError, match=message):
        to_hf(run_dir, tmp_path / "hf", check=check)
    assert not list(tmp_path.iterdir())


def test_other_validation_text_is_recognised(
    run_dir: Path, prepared: Path, checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Other ids in files of the same size: nothing is compared, and that is enough to refuse an FP8 run."""
    data = shutil.copytree(prepared, tmp_path / "data")
    config = load_config("danube_rehearsal", [*TINY, f"data.dir={data}"])
    for stage in ("stage1", "stage2"):
        for part in load_manifest(config).parts(stage, "validation"):
            tokens = np.memmap(part.bin, dtype=part.dtype, mode="r+")
            tokens[tokens > 400] = 400
            tokens.flush()
    reason = (
        rf"cannot be compared with the export's: data\.dir={data}: not the validation text that the run evaluated on"
    )
    verify(checkpoint, exported(checkpoint, tmp_path), data_dir=data)
    assert re.search(reason, capfd.readouterr().err)
    change(checkpoint, as_fp8)
    with pytest.raises(UserError, match=f"{reason}.*; nothing else tells what FP8 weights lose"):
        verify(checkpoint, exported(checkpoint, tmp_path), data_dir=data)


@pytest.mark.parametrize(
    ("factor", "padded", "earlier", "passes"),
    [(1.02, 0, 1, 0), (0.98, 0, 1, 0), (1.02, 1, 1, 1), (0.98, 1, 1, 0), (1.02, 1, 0, 0), (0.98, 1, 0, 0)],
)
def test_a_loss_may_be_lower_without_the_padding_of_an_earlier_version(
    checkpoint: Path, tmp_path: Path, factor: float, padded: bool, earlier: bool, passes: bool
) -> None:
    """It is lower in an untrained model: rows that no token has took their share of the probability."""
    folder = exported(checkpoint, tmp_path)
    single = open_checkpoint(checkpoint).config()
    single = single.model_copy(update={"trainer": single.trainer.model_copy(update={"devices": 1})})

    def recorded(metadata: dict[str, Any]) -> None:
        record = metadata["progress"]["validation"]
        record["losses"] = [factor * loss for loss in record["losses"]]
        metadata["config"]["model"]["make_vocab_size_divisible_by"] = 640 if padded else 128
        if earlier:
            del metadata["progress"]["padding_has_share"]

    change(checkpoint, recorded)
    with nullcontext() if passes else pytest.raises(UserError, match=r"more than 0\.5%"):
        compare_validation_losses(open_checkpoint(checkpoint), single, folder)


def exported(checkpoint: Path, tmp_path: Path) -> Path:
    to_hf(checkpoint, tmp_path / "hf", dtype="fp32", overwrite=True)
    return tmp_path / "hf"


def test_data_that_is_not_there(
    checkpoint: Path, prepared: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    verify(checkpoint, exported(checkpoint, tmp_path), data_dir=tmp_path / "nowhere")
    assert f"cannot be compared with the export's: data.dir={tmp_path}/nowhere: nothing is" in capfd.readouterr().err
    moved = tmp_path / "moved"
    moved.symlink_to(prepared)
    verify(checkpoint, exported(checkpoint, tmp_path), data_dir=moved)
    assert LINE.search(capfd.readouterr().err)


def test_an_fp8_run_says_so(checkpoint: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    change(checkpoint, as_fp8)
    verify(checkpoint, exported(checkpoint, tmp_path))
    found = LINE.search(capfd.readouterr().err)
    assert found
    assert found[4] == "bf16-mixed, FP8 hybrid"


def test_a_refused_export_leaves_the_earlier_one(checkpoint: Path, tmp_path: Path) -> None:
    """The command refuses an FP8 run's checkpoint from before there were records."""
    earlier = snapshot(exported(checkpoint, tmp_path))
    change(checkpoint, as_fp8)
    change(checkpoint, without_record)
    words = ["convert", "to-hf", str(checkpoint), str(tmp_path / "hf"), "--dtype=fp32", "--overwrite", "--verify"]
    done = run_danube(*words)
    assert (done.returncode, done.stdout) == (2, "")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"danube: {checkpoint}: its validation loss cannot be compared with the export's: there was")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", checkpoint.name]
    assert snapshot(tmp_path / "hf") == earlier
