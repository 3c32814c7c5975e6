"""`danube prepare` with its work on Slurm writes the bytes that it writes alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from tests.support.slurm_jobs import Submitter


def datasets(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.glob("stage*/*"))}


def test_on_slurm_in_a_folder_of_an_odd_name(submitter: Submitter) -> None:
    text = submitter.folder / "text.jsonl"
    lines = [json.dumps({"text": f"document {number % 2900} of many " * 20}) for number in range(3000)]
    text.write_text("\n".join(lines))
    command = [sys.executable, "-m", "custom_modules.cli", "prepare", *submitter.arguments, f"data.input={text}"]
    command += ["data.train_tokenizer=true", "model.vocab_size=290", "data.validation_fraction=0.1"]
    command += ["data.shard_bytes=400000"]
    alone = submitter.folder / "alone"
    slurm = submitter.folder / r"""it's "$HOME" `id` $(id) \n %j #1; a::b [c]* {d} & é"""
    done = submitter.cluster.run(*command, f"data.dir={alone}", cwd=submitter.folder)
    assert done.returncode == 0, done.stderr
    there = [
        "data.dir='{}'".format(str(slurm).replace("'", r"\'")),
        "data.executor=slurm",
        "data.slurm.partition=main",
        "data.slurm.mem_per_cpu_gb=1",
        "++data.slurm.sbatch_args={comment: 'a \"b\" $c #d', nice: 0}",
    ]
    done = submitter.cluster.run(*command, *there, cwd=submitter.folder)
    assert done.returncode == 0, done.stderr
    assert datasets(slurm) == datasets(alone)
    assert len(datasets(slurm)) == 16
