"""Tasks as job arrays of Slurm, by datatrove's SlurmPipelineExecutor.

Importing this module imports datatrove. Run as a program, it is a task: of the executor that its argument names.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import dill
from datatrove.executor import SlurmPipelineExecutor

from custom_modules.errors import UserError

_HAS_MEANING = re.compile(r"[\\\"'#]")
_LOG = '"$SLURM_ARRAY_JOB_ID"_"$SLURM_ARRAY_TASK_ID".out'


class JobArray(SlurmPipelineExecutor):
    """datatrove's executor with a script of its own, in which a path may have any character but a line break.

    A task's log is ``slurm_logs/JOB_TASK.out`` below ``logging_dir``, unless ``sbatch_args`` name a file.
    """

    def get_sbatch_args(self, max_array: int = 1) -> dict[str, Any]:
        # Slurm takes % and \ in the name of a log for its own.
        nowhere = {"output": "/dev/null", "error": "/dev/null"}
        return {**super().get_sbatch_args(max_array), **nowhere, **self._sbatch_args}

    def get_launch_file_contents(self, sbatch_args: dict[str, Any], run_script: str) -> str:
        directives = [_directive(name, value) for name, value in sbatch_args.items()]
        to_log = [] if {"output", "error"} & self._sbatch_args.keys() else [self._log()]
        executor = self.logging_dir.resolve_paths("executor.pik")
        task = shlex.join(["srun", "-l", "-n", "1", sys.executable, "-m", __spec__.name, executor])
        return "\n".join(["#!/bin/bash", *directives, *to_log, "set -e", "export PYTHONUNBUFFERED=TRUE", task, ""])

    def launch_merge_stats(self) -> None:
        """Nobody reads datatrove's statistics."""

    def _log(self) -> str:
        return f"exec > {shlex.quote(str(self.slurm_logs_folder))}/{_LOG} 2>&1"


def submit(folder: Path, tasks: dict[str, Any], options: Mapping[str, Any]) -> str:
    """Submit the tasks of a folder as a job array.

    Args:
        tasks: datatrove's arguments for executors of any kind.
        options: ``data.slurm``.

    Returns:
        The job's number.

    Raises:
        UserError: Slurm refuses the job.
    """
    executor = JobArray(**tasks, job_name=f"danube-{folder.name}", qos=None, **options)
    try:
        executor.run()
    except subprocess.CalledProcessError as error:
        raise UserError(f"data.slurm: sbatch refused the job (exit code {error.returncode})") from None
    return str(executor.job_id)


def check_one_line(folder: Path, options: Mapping[str, Any]) -> None:
    """Refuse what no line of a job's script can hold.

    Raises:
        UserError: a line break in a path or an option; names it.
    """
    of_sbatch = {f"sbatch_args.{name}": value for name, value in options["sbatch_args"].items()}
    named = {f"data.slurm.{name}": value for name, value in {**options, **of_sbatch}.items() if name != "sbatch_args"}
    for key, value in {"data.dir": folder, "the path of Python": sys.executable, **named}.items():
        if {"\r", "\n"} & {*key, *str(value)}:
            raise UserError(f"{key}={str(value)!r}: a line break, which no Slurm script can hold; use another name")


def _directive(name: str, value: Any) -> str:
    """Write an option for sbatch, which knows double quotes, and in them a ``\\`` before any character."""
    quoted = _HAS_MEANING.sub(r"\\\g<0>", str(value))
    return f"#SBATCH --{name}" if value in (None, "") else f'#SBATCH --{name}="{quoted}"'


def is_queued(job: str) -> bool:
    """Whether any task of a job array waits or runs. While Slurm does not answer it may."""
    asked = subprocess.run(["squeue", "--noheader", f"--jobs={job}"], capture_output=True, text=True)
    return bool(asked.stdout.strip()) if asked.returncode == 0 else "Invalid job id" not in asked.stderr


def _run_task(path: str) -> None:
    with Path(path).open("rb") as file:
        run: Callable[[], object] = dill.load(file).run
    run()


if __name__ == "__main__":
    _run_task(sys.argv[1])
