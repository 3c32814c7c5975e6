"""`danube preflight`: what would end a run in its first hour, found in its first seconds, on every process at once."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from custom_modules.cluster.submission import slurm_resources
from custom_modules.cluster.trial_save import try_save
from custom_modules.config.batch import micro_batch
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.data.dali import require_loader
from custom_modules.data.layout import MANIFEST
from custom_modules.data.manifest import load_manifest
from custom_modules.errors import OwnShareError, PassingError, UserError
from custom_modules.objective import check_objective
from custom_modules.plan.memory import fullest_device
from custom_modules.plan.remedies import advice
from custom_modules.plan.room import checkpoints_to_come
from custom_modules.platform import Platform, from_rank_0
from custom_modules.platform.world import World
from custom_modules.run_folder.checkpoint_files import Checkpoint, find_newest
from custom_modules.run_folder.initial_weights import find_base
from custom_modules.run_folder.ownership import claim_run_folder
from custom_modules.run_folder.rollbacks import count_rollbacks
from custom_modules.run_folder.starts import Start, record_start, this_start
from custom_modules.text import decimal_bytes

CONNECT_TIMEOUT = timedelta(seconds=90)
ALL_REDUCE_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Outcome:
    """What one check found: a line of the table."""

    check: str
    found: str
    problem: str | None = None
    """What is wrong and what to do; None if nothing is."""
    passes: bool = False
    """Whether it is a disk or a file server that failed, and may be well again at the next start."""


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


def preflight(config: Config) -> None:
    """Check the nodes, the folders and the network of this start, and print one table to stderr. Collective.

    Under Slurm the start is recorded in the run's folder.

    Raises:
        UserError: what has to change first, on every process alike; a `PassingError` where nothing has to.
        OwnShareError: this process cannot reach the others.
    """
    world = World.from_environment()
    check_process_count(config, world)
    check_objective(config)
    device_problem, platform = None, Platform("cpu", world)
    try:
        platform = Platform.detect(config, world)
        require_loader(config)
    except UserError as error:
        device_problem = str(error)
    with ExitStack() as stack:
        try:
            stack.enter_context(platform.connected(backend="gloo", timeout=CONNECT_TIMEOUT))
            facts = _gather(config, platform, device_problem)
        except PassingError:
            _record_start(config)
            raise
        except RuntimeError as error:
            raise OwnShareError(_unreachable(world, error)) from None
        rows = [_processes(config, world, facts), _devices(facts), _run_dir(config, facts), _data(config, facts)]
        if not any(row.problem for row in rows):
            rows.append(_all_reduce(platform))
            rows.append(_save(config, platform, facts))
        rows = from_rank_0(_with_progress(config, rows, platform, facts) if world.rank == 0 else rows)
    if world.rank == 0:
        print("\n".join(render(rows)), file=sys.stderr, flush=True)
    wrong = [row for row in rows if row.problem]
    if wrong:
        message = f"preflight: {'; '.join(f'{row.check}: {row.problem}' for row in wrong)}"
        raise PassingError(message) if all(row.passes for row in wrong) else UserError(message)


def check_process_count(config: Config, world: World) -> None:
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


def render(rows: Sequence[Outcome]) -> Iterator[str]:
    """The table, a line a check."""
    checks, found = (max(len(getattr(row, name)) for row in rows) for name in ("check", "found"))
    yield "preflight"
    for row in rows:
        yield f"  {row.check:<{checks}}  {row.found:<{found}}  {'FAILED' if row.problem else 'ok'}"


def _gather(config: Config, platform: Platform, device_problem: str | None) -> list[Facts]:
    """Every process writes a file that rank 0 reads, and reads the one that rank 0 wrote."""
    import torch

    rank, size = platform.world.rank, platform.world.size
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
        sees_data=(Path(config.data.dir) / MANIFEST).is_file(),
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


def _processes(config: Config, world: World, facts: Sequence[Facts]) -> Outcome:
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


def _run_dir(config: Config, facts: Sequence[Facts]) -> Outcome:
    found = f"{config.run_dir.absolute()}, written and read by all"
    if all(fact.sees_run_dir for fact in facts):
        return Outcome("run folder", found)
    blind = _hosts([fact for fact in facts if not fact.sees_run_dir])
    problem = "cannot read what the others write there; set it to a folder that all nodes share and may write to"
    return Outcome(
        "run folder", str(config.run_dir.absolute()), f"exp_manager.exp_dir={config.run_dir.parent}: {blind} {problem}"
    )


def _data(config: Config, facts: Sequence[Facts]) -> Outcome:
    found = str(Path(config.data.dir).absolute())
    if all(fact.sees_data for fact in facts):
        return Outcome("data", found)
    blind = [fact for fact in facts if not fact.sees_data]
    if len(blind) == len(facts):
        return Outcome(
            "data", found, f"data.dir={config.data.dir}: nothing is prepared there; run `danube prepare` first"
        )
    problem = "does not see it; set it to a folder that all nodes share"
    return Outcome("data", found, f"data.dir={config.data.dir}: {_hosts(blind)} {problem}")


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


def _save(config: Config, platform: Platform, facts: Sequence[Facts]) -> Outcome:
    """What a save and a resume need, found before there is anything to lose."""
    seconds, failure = try_save(config, platform, f".preflight-{from_rank_0(uuid.uuid4().hex)}")
    if failure is None:
        return Outcome("save", f"a small checkpoint saved, read back and removed in {seconds:.1f} s")
    where = f"process {failure.rank} on {facts[failure.rank].host}"
    remedy = "every save or resume of the run would end so"
    return Outcome("save", "a small checkpoint", f"{where}: {failure.reason}; {remedy}", failure.passes)


def _with_progress(config: Config, rows: list[Outcome], platform: Platform, facts: Sequence[Facts]) -> list[Outcome]:
    """Rank 0's own rows: memory, disk, progress and restarts."""
    try:
        checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    except UserError as error:
        return [*rows, Outcome("progress", "no whole checkpoint is left", str(error))]
    consumed = checkpoint.consumed_tokens if checkpoint else 0
    curriculum = Curriculum.from_config(config)
    target = curriculum.stage(config.curriculum.stage) if config.curriculum.stage else curriculum.stages[-1]
    if consumed >= target.end_tokens:
        return [*rows, Outcome("progress", f"{target.name} is finished: {consumed:,} tokens")]
    found = f"{consumed:,} of the {target.end_tokens:,} tokens that end {target.name}"
    problem, start = None, this_start(consumed, rollbacks=count_rollbacks(config.run_dir))
    if start and not any(row.problem and not row.passes for row in rows):
        found += f"; job {start.job_id}, restart {start.restart}"
        try:
            _record(config, start)
        except UserError as error:
            problem = str(error)
    if not any(row.check == "devices" and row.problem for row in rows):
        to_come = [s for s in curriculum.stages if s.end_tokens > consumed and s.start_tokens < target.end_tokens]
        rows = [*rows, _memory(config, to_come, platform, facts, resumed=checkpoint is not None)]
    rows = [*rows, _disk(config, checkpoint), Outcome("progress", found, problem)]
    begins_elsewhere = checkpoint is None and config.model.restore_from_path is not None
    has_data = not any(row.check == "data" and row.problem for row in rows)
    return [*rows, _base(config)] if begins_elsewhere and has_data else rows


def _record_start(config: Config) -> None:
    """Count a start that came to nothing, too, so that not one follows another for ever."""
    checkpoint, _ = find_newest(config.run_dir, verify_contents=False)
    consumed = checkpoint.consumed_tokens if checkpoint else 0
    if start := this_start(consumed, rollbacks=count_rollbacks(config.run_dir)):
        _record(config, start)


def _record(config: Config, start: Start) -> None:
    """Raises UserError: the folder is no run's, or the job's restarts bring nothing."""
    claim_run_folder(config.run_dir)
    record_start(config.run_dir, start)


def _base(config: Config) -> Outcome:
    """The weights that the first start begins with."""
    try:
        base = find_base(config, load_manifest(config), verify_contents=False)
    except UserError as error:
        return Outcome("weights", str(config.model.restore_from_path), str(error))
    assert base is not None
    return Outcome("weights", f"to begin with those of {base.path}")


def _memory(
    config: Config, stages: Sequence[Stage], platform: Platform, facts: Sequence[Facts], resumed: bool
) -> Outcome:
    """Compare the plan with the smallest device; a dry run finds what is nearer than a plan can tell."""
    room, on_cpu = min(fact.device_bytes for fact in facts), not platform.kernels.transformer_engine
    totals = {stage.name: fullest_device(config, stage, on_cpu).total for stage in stages}
    stage = max(totals, key=lambda name: totals[name])
    found = f"{totals[stage] / 2**30:,.1f} of {room / 2**30:,.1f} GiB by the plan, in {stage}"
    if totals[stage] <= room:
        return Outcome("memory", found)
    batch = micro_batch(config, stage)
    what = f"{batch.key}={batch.value}: {stage} needs {found}"
    return Outcome("memory", found, f"{what}; {advice(config, stage, room, on_cpu, resumed)}")


def _disk(config: Config, checkpoint: Checkpoint | None) -> Outcome:
    missing, needed = checkpoints_to_come(config, checkpoint)
    folder = next(path for path in (config.run_dir, *config.run_dir.absolute().parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    found = f"{decimal_bytes(free)} free, {decimal_bytes(needed)} needed for {missing} more checkpoint(s)"
    problem = f"{folder}: {found}; free some space, or set exp_manager.exp_dir to a larger disk"
    return Outcome("disk", found, problem if free < needed else None)
