"""`danube preflight`: what would end a run in its first hour, found in its first seconds, on every process at once."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from custom_modules.cluster.checked_run import CheckedRun, checked_run
from custom_modules.cluster.outcome import Outcome, render
from custom_modules.cluster.start_rows import device_and_progress_rows, record_failed_start
from custom_modules.cluster.submission import slurm_resources
from custom_modules.cluster.trial_save import try_save
from custom_modules.config.schema import TrainingConfig
from custom_modules.errors import OwnShareError, PassingError, UserError
from custom_modules.platform import Platform, from_rank_0
from custom_modules.platform.world import World

CONNECT_TIMEOUT = timedelta(seconds=90)
ALL_REDUCE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Facts:
    """What one process sees."""

    host: str
    device: str
    """The chip's name, or CPU."""
    gpu: str | None
    """What no other GPU in the world is called; None on a CPU."""
    device_problem: str | None
    device_bytes: int
    """Memory of the device; on a CPU, this process's part of the machine's."""
    sees_run_dir: bool
    """Whether it reads there what the others wrote, as far as it has to."""
    sees_data: bool
    data_problem: str | None
    """Why it could not begin with what is prepared; None where nothing is, too."""


def preflight(config: TrainingConfig) -> None:
    """Check the nodes, the folders and the network of this start, and print one table to stderr. Collective.

    Under Slurm the start is recorded in the run's folder.

    Raises:
        UserError: what has to change first, on every process alike; a `PassingError` where nothing has to.
        OwnShareError: this process cannot reach the others.
    """
    world = World.from_environment()
    check_process_count(config, world)
    run = checked_run(config)
    device_problem, platform = None, Platform("cpu", world)
    try:
        platform = Platform.detect(config, world)
        run.require_loader()
    except UserError as error:
        device_problem = str(error)
    with ExitStack() as stack:
        try:
            stack.enter_context(platform.connected(backend="gloo", timeout=CONNECT_TIMEOUT))
            facts = _gather(run, platform, device_problem)
        except PassingError:
            record_failed_start(config)
            raise
        except RuntimeError as error:
            raise OwnShareError(_unreachable(world, error)) from None
        rows = [_processes(config, world, facts), _devices(facts), _run_dir(config, facts), _data(run, facts)]
        if not any(row.problem for row in rows):
            rows.append(_all_reduce(platform))
            rows.append(_save(run, platform, facts))
        if world.rank == 0:
            room = min(fact.device_bytes for fact in facts)
            rows = device_and_progress_rows(run, rows, room, not platform.kernels.transformer_engine)
        rows = from_rank_0(rows)
    if world.rank == 0:
        print("\n".join(render(rows)), file=sys.stderr, flush=True)
    wrong = [row for row in rows if row.problem]
    if wrong:
        message = f"preflight: {'; '.join(f'{row.check}: {row.problem}' for row in wrong)}"
        raise PassingError(message) if all(row.passes for row in wrong) else UserError(message)


def check_process_count(config: TrainingConfig, world: World) -> None:
    """Before torch is imported: were as many processes started as the config describes?

    Raises:
        UserError: saying how to submit this config.
    """
    trainer = config.trainer
    if world.size == trainer.world_size:
        return
    submit = f"submit with sbatch {' '.join(slurm_resources(config))}, or " if world.source == "slurm" else ""
    raise UserError(
        f"trainer.num_nodes={trainer.num_nodes}, trainer.devices={trainer.devices}: that is {trainer.world_size} "
        f"process(es), but {world.source} started {world.size}; {submit}set both to what was started"
    )


def _gather(run: CheckedRun, platform: Platform, device_problem: str | None) -> list[Facts]:
    """Every process writes a file that rank 0 reads, and reads the one that rank 0 wrote."""
    import torch

    config, rank, size = run.config, platform.world.rank, platform.world.size
    sees_data = run.sees_data
    nonce = from_rank_0(uuid.uuid4().hex)
    folder = config.run_dir / f".preflight-{nonce}"
    with suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / str(rank)).write_text(nonce)
    torch.distributed.barrier()
    mine = Facts(
        host=socket.gethostname(),
        device=platform.device_name,
        gpu=platform.gpu_id,
        device_problem=device_problem,
        device_bytes=platform.device_bytes() // (config.trainer.devices if platform.accelerator == "cpu" else 1),
        sees_run_dir=all(_reads(folder / str(other), nonce) for other in (range(size) if rank == 0 else (0,))),
        sees_data=sees_data,
        data_problem=run.data_problem() if sees_data else None,
    )
    facts: list[Facts] = [mine] * size
    torch.distributed.all_gather_object(facts, mine)
    shutil.rmtree(folder, ignore_errors=True)
    return facts


def _reads(path: Path, content: str) -> bool:
    try:
        return path.read_text() == content
    except OSError:
        return False


def _unreachable(world: World, error: Exception) -> str:
    return (
        f"preflight: process {world.rank} on {socket.gethostname()} cannot reach the others at {world.master_addr}:"
        f"{world.master_port} ({' '.join(str(error).split())[:200]}); check that the nodes reach each other, and name "
        "the interface in GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME if there are several"
    )


def _hosts(facts: Sequence[Facts]) -> str:
    names = list(dict.fromkeys(fact.host for fact in facts))
    return ", ".join(names) if len(names) <= 4 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _processes(config: TrainingConfig, world: World, facts: Sequence[Facts]) -> Outcome:
    trainer = config.trainer
    hosts = Counter(fact.host for fact in facts)
    found = f"{world.size} on {_hosts(facts)}, from {world.source}"
    if len(hosts) == trainer.num_nodes and set(hosts.values()) == {trainer.devices}:
        return Outcome("processes", found)
    layout = ", ".join(f"{count} on {host}" for host, count in hosts.items())
    wanted = f"trainer.num_nodes={trainer.num_nodes}, trainer.devices={trainer.devices}"
    return Outcome("processes", found, f"{wanted}, but there are {layout}; set --nodes and --ntasks-per-node to match")


def _devices(facts: Sequence[Facts]) -> Outcome:
    kinds = Counter(fact.device for fact in facts)
    found = ", ".join(f"{count} x {device}" for device, count in kinds.items())
    if idle := os.environ.get("SLURM_GPUS_ON_NODE") if set(kinds) == {"CPU"} else None:
        found += f" (trainer.accelerator=cpu; the {idle} GPU(s) a node from Slurm are idle)"
    broken = next((fact for fact in facts if fact.device_problem), None)
    if broken:
        return Outcome("devices", found, f"{broken.host}: {broken.device_problem}")
    shared = Counter((fact.host, fact.gpu) for fact in facts if fact.gpu)
    if shared and max(shared.values()) > 1:
        (host, _), count = shared.most_common(1)[0]
        return Outcome("devices", found, f"{host}: {count} processes have one GPU; ask for as many GPUs as tasks")
    if len(kinds) > 1:
        odd = [fact for fact in facts if fact.device != kinds.most_common(1)[0][0]]
        return Outcome("devices", found, f"{_hosts(odd)} differ from the others; leave them out with --exclude")
    return Outcome("devices", found)


def _run_dir(config: TrainingConfig, facts: Sequence[Facts]) -> Outcome:
    found = f"{config.run_dir.absolute()}, written and read by all"
    if all(fact.sees_run_dir for fact in facts):
        return Outcome("run folder", found)
    blind = _hosts([fact for fact in facts if not fact.sees_run_dir])
    problem = "cannot read what the others write there; set it to a folder that all nodes share and may write to"
    return Outcome(
        "run folder", str(config.run_dir.absolute()), f"exp_manager.exp_dir={config.run_dir.parent}: {blind} {problem}"
    )


def _data(run: CheckedRun, facts: Sequence[Facts]) -> Outcome:
    found, key = str(Path(run.data_dir).absolute()), f"data.dir={run.data_dir}"
    if all(fact.sees_data for fact in facts):
        return Outcome("data", found, next((fact.data_problem for fact in facts if fact.data_problem), None))
    blind = [fact for fact in facts if not fact.sees_data]
    if len(blind) == len(facts):
        return Outcome("data", found, f"{key}: nothing is prepared there; run `danube prepare` first")
    return Outcome("data", found, f"{key}: {_hosts(blind)} does not see it; set it to a folder that all nodes share")


def _all_reduce(platform: Platform) -> Outcome:
    """A sum that is known, over the backend that training will use; timed once it is warm."""
    import torch

    group = torch.distributed.new_group(backend=platform.backend) if platform.backend != "gloo" else None
    size = platform.world.size
    seconds = 0.0
    for _ in range(2):
        tensor = torch.full((ALL_REDUCE_BYTES // 4,), platform.world.rank + 1.0, device=platform.device)
        begun = time.monotonic()
        torch.distributed.all_reduce(tensor, group=group)
        total = float(tensor.mean().item())
        seconds = time.monotonic() - begun
    found = f"{ALL_REDUCE_BYTES // 2**20} MiB over {platform.backend} in {seconds * 1000:.1f} ms"
    expected = size * (size + 1) / 2
    wrong = f"the sum is {total:g}, not {expected:g}; a network or a device is faulty"
    return Outcome("all-reduce", found, wrong if abs(total - expected) > 1e-3 * expected else None)


def _save(run: CheckedRun, platform: Platform, facts: Sequence[Facts]) -> Outcome:
    """What a save and a resume need, found before there is anything to lose."""
    seconds, failure = try_save(run, platform, f".preflight-{from_rank_0(uuid.uuid4().hex)}")
    if failure is None:
        return Outcome("save", f"a small checkpoint saved, read back and removed in {seconds:.1f} s")
    where = f"process {failure.rank} on {facts[failure.rank].host}"
    remedy = "every save or resume of the run would end so"
    return Outcome("save", "a small checkpoint", f"{where}: {failure.reason}; {remedy}", failure.passes)
