"""What commands do that run in one process a device."""

from __future__ import annotations

import argparse
import os
import sys
import time
import traceback
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from custom_modules.commands.options import config_of, inherited
from custom_modules.errors import StoppedBySignal, UserError
from custom_modules.files import refused

if TYPE_CHECKING:
    from custom_modules.config.schema import Config, TrainingConfig
    from custom_modules.platform.world import Pod
    from custom_modules.training.signals import StopRequest


def import_training(config: TrainingConfig) -> None:
    """Import what the processes of a run on megatron-core need."""
    from custom_modules.platform.environment import import_megatron_for

    import_megatron_for(config)
    import custom_modules.training.pretrain  # noqa: F401


def check_training(config: Config) -> None:
    """Raise UserError for a loader, tasks or an objective that a run on megatron-core could not have."""
    from custom_modules.data.dali import require_loader
    from custom_modules.objective import check_objective
    from custom_modules.tasks.extra import require_tasks

    require_loader(config)
    require_tasks(config)
    check_objective(config)


def on_every_process(
    options: argparse.Namespace,
    work: Callable[[Any, StopRequest], None],
    check: Callable[[Any], None] = check_training,
    load: Callable[[argparse.Namespace], Any] = config_of,
    imports: Callable[[Any], None] = import_training,
) -> int:
    """Work in the processes that torchrun or Slurm started, else in processes of our own; returns the exit code.

    Args:
        work: one process's share of it.
        check: raises UserError, before processes are started, where the work could not begin.
        load: gives the config that the options name, one with a ``run_dir``.
        imports: what the processes need; done once, where they are forked.
    """
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import Pod, World
    from custom_modules.training.signals import stop_requests

    die_with_launcher()
    world, pod = World.from_environment(), Pod.from_environment()
    if pod is not None or not world.is_launched:
        code = _launch(options, check, pod, load, imports)
        if code is not None:
            return code
    # From the first moment on: Slurm may ask for a stop while torch is still being imported.
    with stop_requests() as stop:
        return _in_this_process(partial(work, load(options), stop), world.size)


def _launch(
    options: argparse.Namespace,
    check: Callable[[Any], None],
    pod: Pod | None,
    load: Callable[[argparse.Namespace], Any],
    imports: Callable[[Any], None],
) -> int | None:
    """Run the command in one process a device and return the exit code; None where this process is all it takes."""
    from custom_modules.killed import name_signal
    from custom_modules.platform import cpu_threads
    from custom_modules.platform.launch import check_pod, check_single_node, launch, may_fork

    config = load(options)
    if config.trainer.world_size == 1 and pod is None:
        return None
    if pod is not None:
        check_pod(pod, config.trainer.devices, config.trainer.num_nodes)
    else:
        check_single_node(config.trainer.num_nodes)
    threads = cpu_threads(config)
    # For forked processes too: OpenMP and numpy read it once, when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    check(config)

    def import_once() -> Callable[[], int]:
        imports(config)
        again: Callable[[], int] = options.again
        return again

    def say_killed(rank: int, number: int) -> None:
        from custom_modules.run_folder.ended import where_it_stands

        who = f"process {rank} of {config.trainer.devices} was ended by {name_signal(number)}"
        print(f"danube: {who}; {where_it_stands(config.run_dir)}", file=sys.stderr)

    fork = import_once if may_fork(config.trainer.accelerator) else None
    with inherited(options, config):
        return launch(config.trainer.devices, options.arguments, threads, fork, say_killed, pod)


def _in_this_process(work: Callable[[], None], processes: int) -> int:
    def share() -> int:
        work()
        return 0

    return traced(share, processes)


def traced(work: Callable[[], int], processes: int) -> int:
    """Call one process's share of the work; what nobody foresaw is printed as a traceback and is exit code 1."""
    from custom_modules.platform.launch import patience

    try:
        return work()
    except (UserError, StoppedBySignal, KeyboardInterrupt):
        raise
    except Exception as error:
        if processes > 1:
            # When one process fails the others lose their connection: let the launcher end them before they say so.
            time.sleep(patience())
        if isinstance(error, OSError) and refused(error):
            raise
        traceback.print_exc()
        return 1
