"""The processes of an evaluation, connected, and the model that they load once it is needed."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import yaml

from custom_modules.config.load import validate
from custom_modules.config.schema import ONE_DEVICE, DevicesConfig, TrainingConfig
from custom_modules.errors import UserError
from custom_modules.evaluation.subject import Folder, Run, Subject
from custom_modules.platform import Platform, find_accelerator
from custom_modules.platform.rank_0 import from_every_rank, on_rank_0
from custom_modules.platform.world import World
from custom_modules.scoring.encoding import Encoder
from custom_modules.scoring.passes import Ranks
from custom_modules.scoring.scorer import Model
from custom_modules.scoring.shapes import Shapes

if TYPE_CHECKING:
    import torch

THREADS = 1
"""Of a process on a CPU: shared out among processes, they would have the last bits depend on how many these are."""


@dataclass(frozen=True)
class Processes:
    """What an evaluation computes with.

    Attributes:
        world: this process among all of them.
        device_name: a GPU's; ``CPU`` elsewhere.
        layout: how many ranks share a model, by kind, where that is more than one.
        dtype: what the model computes in.
        load: gives the model. Collective.
    """

    world: World
    ranks: Ranks
    device_name: str
    shapes: Shapes
    layout: Mapping[str, int]
    dtype: Callable[[], str]
    load: Callable[[Encoder], Model]


def evaluation_config(run: Run, processes: int, accelerator: str, overrides: Sequence[str]) -> TrainingConfig:
    """Return a run's config for so many processes: divided as in training where that comes out even.

    Context parallelism and virtual pipeline stages are left out: they change no number, and rows are short.

    Args:
        accelerator: as ``trainer.accelerator``.
        overrides: ``KEY=VALUE``.

    Raises:
        UserError: the config cannot be so.
    """
    plain = run.config.model_dump(mode="json")
    model = plain["model"]
    together = model["tensor_model_parallel_size"] * model["pipeline_model_parallel_size"]
    if processes % together:
        print(
            f"{run.named}: trained with {together} devices a model, and {processes} are here: each has a whole one",
            file=sys.stderr,
        )
        model |= ONE_DEVICE
    model |= {"context_parallel_size": 1, "virtual_pipeline_model_parallel_size": None, "overlap_p2p_comm": False}
    model["fsdp"] = model["fsdp"] and processes > 1
    plain["trainer"] |= {
        "accelerator": accelerator,
        "devices": processes,
        "num_nodes": 1,
        "cpu_threads": THREADS,
        **({"evaluate": None} if "evaluate" in plain["trainer"] else {}),
    }
    for override in overrides:
        _set(plain, override)
    return validate(plain, kind=type(run.config))


def _set(plain: dict[str, Any], override: str) -> None:
    key, _, value = override.partition("=")
    *sections, last = key.split(".")
    place: Any = plain
    for section in sections:
        place = place.get(section) if isinstance(place, dict) else None
    if not isinstance(place, dict) or last not in place:
        raise UserError(f"{override}: no such key in the run's config; leave it out")
    place[last] = yaml.safe_load(value)


@contextmanager
def processes_of(subject: Subject, accelerator: str, overrides: Sequence[str]) -> Iterator[Processes]:
    """Connect the processes that a launcher has started, or this one alone.

    Raises:
        UserError: no GPU where one is asked for, or the config cannot be so.
    """
    world = World.from_environment()
    if isinstance(subject, Run):
        with _of_run(subject, evaluation_config(subject, world.size, accelerator, overrides)) as processes:
            yield processes
        return
    if overrides:
        raise UserError(f"{overrides[0]}: {subject.named} is a model's folder, which has no keys; leave it out")
    with _of_folder(subject, world, accelerator) as processes:
        yield processes


@contextmanager
def _of_run(run: Run, config: TrainingConfig) -> Iterator[Processes]:
    from custom_modules.platform.environment import import_megatron_for

    import_megatron_for(config)
    platform = Platform.detect(config)
    with platform.running(config):
        from custom_modules.scoring.run_model import RunModel, data_parallel_ranks, shapes_here

        model = config.model

        def load(encoder: Encoder) -> Model:
            return RunModel(_loaded_chunks(run, config, platform), platform, run.max_length)

        divided = {
            "tensor": model.tensor_model_parallel_size,
            "pipeline": model.pipeline_model_parallel_size,
            "sequence": 1 + int(model.sequence_parallel),
        }
        layout = {kind: size for kind, size in divided.items() if size > 1}
        shapes = shapes_here(platform)
        dtype = partial(_dtype, config)
        yield Processes(platform.world, data_parallel_ranks(), platform.device_name, shapes, layout, dtype, load)


def _dtype(config: TrainingConfig) -> str:
    model = config.model
    precision = "bf16" if config.trainer.precision == "bf16-mixed" else "fp32"
    return f"{precision}, FP8 {model.fp8} ({model.fp8_recipe})" if model.fp8 else precision


def _loaded_chunks(run: Run, config: TrainingConfig, platform: Platform) -> list[Any]:
    from megatron.core.transformer.module import Float16Module

    from custom_modules.model.build import build_chunks
    from custom_modules.training.checkpoint import load_weights
    from custom_modules.training.fsdp import FullyShardedDataParallel

    chunks = [chunk.to(platform.device) for chunk in build_chunks(config, False, platform.kernels)]
    models: list[Any] = [Float16Module(chunk.config, chunk) if chunk.config.bf16 else chunk for chunk in chunks]
    if config.model.fsdp:
        models = [FullyShardedDataParallel(model.config, model) for model in models]
    load_weights(chunks, run.checkpoint)
    return models


@contextmanager
def _of_folder(folder: Folder, world: World, accelerator: str) -> Iterator[Processes]:
    import torch

    from custom_modules.scoring.folder_model import folder_shapes

    given = {"accelerator": accelerator, "devices": world.size, "num_nodes": 1, "cpu_threads": THREADS}
    devices = DevicesConfig.model_validate({**given, "precision": "32-true", "peak_tflops": None})
    platform = Platform(find_accelerator(devices, world), world)
    device = platform.device
    if device.type == "cpu":
        torch.set_num_threads(THREADS)
    shapes = folder_shapes(device.type, folder.max_length, folder.model_type)

    def load(encoder: Encoder) -> Model:
        return _loaded_folder(folder, device, encoder)

    if world.size == 1:
        yield Processes(world, Ranks(), platform.device_name, shapes, {}, lambda: folder.dtype, load)
        return
    with platform.connected():
        ranks = Ranks(world.rank, world.size, from_every_rank, on_rank_0)
        yield Processes(world, ranks, platform.device_name, shapes, {}, lambda: folder.dtype, load)


def _loaded_folder(folder: Folder, device: torch.device, encoder: Encoder) -> Model:
    import torch

    from custom_modules.conversion.local_model import load_model
    from custom_modules.scoring.folder_model import FolderModel

    try:
        model = load_model(folder.path).to(device)
    except torch.OutOfMemoryError:
        raise UserError(
            f"{folder.path}: the GPU has no room for the model; free it, or give --accelerator cpu"
        ) from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{folder.path}: transformers cannot load it ({' '.join(str(error).split())})") from None
    return FolderModel(model, device, folder.max_length, encoder.eos_ids, encoder.decode)
