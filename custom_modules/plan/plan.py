"""The plan of a run: every number that follows from its config, before anything is built.

Nothing here imports torch, numpy or megatron-core, so that a laptop can plan for any machine.
"""

from __future__ import annotations

from dataclasses import dataclass

from custom_modules.config.batch import MicroBatch, micro_batch
from custom_modules.config.learning_rate import learning_rate
from custom_modules.config.rampup import BatchRampup
from custom_modules.config.recompute import Recompute
from custom_modules.config.schema import Config
from custom_modules.config.stages import Curriculum, Stage
from custom_modules.config.streams import StageStreams
from custom_modules.objective import check_objective
from custom_modules.plan.duration import ReportedSpeed, Speed, choose_speed, reported_speed
from custom_modules.plan.flops import (
    flops_per_sequence,
    flops_with_scoring,
    passes_over_texts,
    scoring_flops,
    visible_pairs,
)
from custom_modules.plan.kept import checkpoints_kept
from custom_modules.plan.memory import (
    OUTSIDE_TORCH,
    DeviceMemory,
    checkpoint_bytes,
    fullest_device,
    token_bytes,
)
from custom_modules.plan.needed import ByStream, needed_in_all, needed_parts, reads_documents
from custom_modules.plan.parameters import count_parameters
from custom_modules.plan.phases import PhasePlan, plan_phases
from custom_modules.plan.precision import LinearPrecision, linear_precisions
from custom_modules.plan.prepared import PreparedData, read_prepared
from custom_modules.plan.prices import Price, prices
from custom_modules.plan.remedies import Remedy, remedies, ways_to_fit
from custom_modules.plan.seen import SeenContext, pairs_by_stage
from custom_modules.plan.tasks import ExpectedTasks, expect_tasks
from custom_modules.plan.teachers import TeacherPrice, teacher_prices


@dataclass(frozen=True)
class StagePlan:
    """One stage. Tokens, sequences and FLOPs are over all devices."""

    name: str
    seq_length: int
    token_budget: int
    whole_steps: int
    """Steps that fit into the budget."""
    exact_steps: float
    """The steps before rounding up: where the batch does not grow, the budget over it."""
    steps: int
    trained_tokens: int
    extra_tokens: int
    """What rounding up adds to the budget."""
    start_tokens: int
    """Consumed tokens of the run when the stage begins."""
    end_tokens: int
    global_batch_size: int
    """Sequences a step."""
    global_batch_tokens: int
    """Tokens a step."""
    micro_batch_size: int
    micro_batch: MicroBatch
    """What decided its size."""
    num_microbatches: int
    """Gradient accumulation: forward passes a device makes in a step."""
    rampup_batch_tokens: BatchRampup | None
    """How the batch grows, from phase to phase up to the figures above; None: it has these throughout."""
    phases: tuple[PhasePlan, ...]
    first_learning_rate: float
    last_learning_rate: float
    mean_visible_tokens: float
    """Keys that a query sees on average: causal mask, sliding window, documents' ends where attention stops there."""
    seen: SeenContext | None
    """What that follows from, where documents' ends mean something to the run; None: they do not, or nothing is known
    of them."""
    flops_per_token: float
    """Of training; what scoring takes is not in it."""
    flops: int
    """Of training and scoring."""
    scoring_flops: int
    """Those of them that choose among teachers' texts, without gradient; 0 where no teacher has texts."""
    tokens_per_second: float | None
    """The speed of all devices together; None where no peak is known."""
    device_hours: float | None
    dataset_bytes: int
    """The size of the tokens it trains on, each stored once."""
    distilled_tokens: int
    """Those of its trained tokens that come from distilled parts; 0 where the run has none."""
    mix: dict[str, float] | None
    """Shares of its tokens by source; None: as they are prepared."""
    memory: DeviceMemory
    """The memory of the fullest device."""
    recompute: Recompute
    """What of the activations its backward pass computes again. No FLOPs of it are counted."""
    remedies: tuple[Remedy, ...]
    """Where it does not fit the device: what would lower its memory, the cheapest first."""
    together: Remedy | None
    """Where none of these is enough by itself: those that are together."""


@dataclass(frozen=True)
class Plan:
    """A whole run."""

    name: str
    stop_after: str | None
    """The stage after which this run stops, if it is not the last (``curriculum.stage``)."""
    stages: tuple[StagePlan, ...]
    total_steps: int
    total_tokens: int
    """Trained, with what rounding up adds."""
    global_batch_tokens: int
    """The batch of stages without one of their own."""
    peak_learning_rate: float
    min_learning_rate: float
    warmup_tokens: int
    parameters: int
    padded_parameters: int
    """The count with the rows that round the vocabulary up."""
    layer_parameters: int
    """The parameters of one layer."""
    embedding_parameters: int
    """The parameters of the embedding."""
    head_parameters: int
    """The parameters of the head; 0 where it is the embedding."""
    vocab_size: int
    padded_vocab_size: int
    num_layers: int
    precision: str
    fp8: str | None
    linears: tuple[LinearPrecision, ...]
    """What each linear layer runs in."""
    optimizer: str
    position_embedding_type: str
    sliding_window: int | None
    reset_attention_mask: bool
    reset_position_ids: bool
    eod_mask_loss: bool
    accelerator: str
    num_nodes: int
    devices_per_node: int
    tensor_model_parallel_size: int
    pipeline_model_parallel_size: int
    virtual_pipeline_model_parallel_size: int | None
    context_parallel_size: int
    fsdp: bool
    data_parallel_size: int
    flops: int
    """Of training and scoring."""
    scoring_flops: int
    passes_over_texts: int
    """The forward passes of a distilled sequence that `scoring_flops` are of."""
    tasks: ExpectedTasks | None
    """What ``trainer.evaluate`` takes beside these FLOPs; None where it has no tasks, or their sizes are not known."""
    tokens_per_second: float | None
    """The average over all stages, of all devices together."""
    device_hours: float | None
    speed: Speed | None
    """What hours are computed from; None where no peak is known."""
    reported: ReportedSpeed | None
    prices: tuple[Price, ...]
    """Where FP8 is asked for and the GPU has none: the run in bf16 there, and in FP8 on one that has it."""
    teachers: tuple[TeacherPrice, ...]
    """What each teacher of the config takes to be asked once; none where it has none."""
    memory_outside_torch: int
    """Bytes of a GPU that go to CUDA and NCCL, in no stage's memory; assumed."""
    cross_entropy_chunk_size: int | None
    distilled_every: int | None
    """Each so many-th step of a stage is distilled; None: none is."""
    deterministic: bool
    """With ``trainer.deterministic`` attention has a workspace that is in no stage's memory: `render` says it."""
    token_bytes: int
    dataset_bytes: int
    checkpoint_bytes: int
    checkpoints_kept: int
    """The most that are there when the run is done: the last ones, the end of each stage, and those to go back to."""
    data: PreparedData
    reads_documents: bool
    """A distilled sequence is one document, cut or padded."""
    max_epochs: int | dict[str, int]
    needed_tokens: dict[str, dict[str, int]]
    """The training text that each source of a stage with a mix must have, beyond that for validation."""
    needed_by_stream: dict[str, dict[str, ByStream]]
    """What each of a source's two parts must have of it, as documents fall to them by their hashes; empty where a
    source has one."""

    @property
    def world_size(self) -> int:
        return self.num_nodes * self.devices_per_node


def build_plan(config: Config, mfu: float | None = None, gpu: str | None = None) -> Plan:
    """Derive the plan.

    Args:
        config: a checked config.
        mfu: the fraction of the peak to compute hours with; None: the one that the reported throughput implies,
            else a default.
        gpu: the device to compute hours for, by any usual name; None: ``trainer.peak_tflops``, or the reported one,
            else an H100.

    Raises:
        UserError: an impossible MFU, an unknown device or objective.
    """
    check_objective(config)
    curriculum = Curriculum.from_config(config)
    speed = choose_speed(config, mfu, gpu)
    data = read_prepared(config, curriculum)
    pairs = pairs_by_stage(data.seen)
    stages = tuple(
        _plan_stage(config, curriculum, stage, speed, data.seen.get(stage.name)) for stage in curriculum.stages
    )
    model, trainer = config.model, config.trainer
    counts = count_parameters(model)
    flops = flops_with_scoring(config, pairs)
    needed = needed_parts(config, curriculum, data)
    last = curriculum.stages[-1].name
    return Plan(
        name=config.name,
        stop_after=config.curriculum.stage if config.curriculum.stage != last else None,
        stages=stages,
        total_steps=curriculum.total_steps,
        total_tokens=curriculum.total_tokens,
        global_batch_tokens=model.global_batch_tokens,
        peak_learning_rate=model.optim.lr,
        min_learning_rate=model.optim.sched.min_lr,
        warmup_tokens=model.optim.sched.warmup_tokens,
        parameters=counts.total,
        padded_parameters=count_parameters(model, padded=True).total,
        layer_parameters=counts.layer,
        embedding_parameters=counts.embedding,
        head_parameters=counts.head,
        vocab_size=model.vocab_size,
        padded_vocab_size=model.padded_vocab_size,
        num_layers=model.num_layers,
        precision=trainer.precision,
        fp8=model.fp8,
        linears=linear_precisions(config),
        optimizer=model.optim.name,
        position_embedding_type=model.position_embedding_type,
        sliding_window=model.sliding_window,
        reset_attention_mask=config.separates_documents,
        reset_position_ids=config.data.reset_position_ids,
        eod_mask_loss=config.data.eod_mask_loss,
        accelerator=trainer.accelerator,
        num_nodes=trainer.num_nodes,
        devices_per_node=trainer.devices,
        tensor_model_parallel_size=model.tensor_model_parallel_size,
        pipeline_model_parallel_size=model.pipeline_model_parallel_size,
        virtual_pipeline_model_parallel_size=model.virtual_pipeline_model_parallel_size,
        context_parallel_size=model.context_parallel_size,
        fsdp=model.fsdp,
        data_parallel_size=config.data_parallel_size,
        flops=flops,
        scoring_flops=sum(stage.scoring_flops for stage in stages),
        passes_over_texts=passes_over_texts(config),
        tasks=expect_tasks(config, pairs),
        tokens_per_second=curriculum.total_tokens * trainer.world_size * speed.flops / flops if speed else None,
        device_hours=flops / speed.flops / 3600 if speed else None,
        speed=speed,
        reported=reported_speed(config),
        prices=prices(config, speed, pairs),
        teachers=teacher_prices(config, curriculum, speed, data),
        memory_outside_torch=OUTSIDE_TORCH,
        cross_entropy_chunk_size=model.cross_entropy_chunk_size,
        distilled_every=config.distilled_every,
        deterministic=trainer.deterministic,
        token_bytes=token_bytes(config),
        dataset_bytes=sum(stage.dataset_bytes for stage in stages),
        checkpoint_bytes=checkpoint_bytes(config),
        checkpoints_kept=checkpoints_kept(
            config.exp_manager.checkpoint_callback_params, len(curriculum.stages), curriculum.total_tokens
        ),
        data=data,
        reads_documents=reads_documents(config),
        max_epochs=config.data.max_epochs,
        needed_tokens={
            source: {stage: needed_in_all(parts, config.distilled_every) for stage, parts in stages.items()}
            for source, stages in needed.items()
        },
        needed_by_stream=needed if config.distilled_every else {},
    )


def _plan_stage(
    config: Config, curriculum: Curriculum, stage: Stage, speed: Speed | None, seen: SeenContext | None
) -> StagePlan:
    optim, total_tokens = config.model.optim, curriculum.total_tokens
    pairs = seen.pairs if seen else visible_pairs(stage.seq_length, config.model.sliding_window)
    per_sequence = flops_per_sequence(config.model, stage.seq_length, pairs)
    scoring = scoring_flops(config, stage)
    flops = stage.num_samples * per_sequence + scoring
    per_token = per_sequence / stage.seq_length
    memory = fullest_device(config, stage)
    room = speed.memory_bytes - OUTSIDE_TORCH if speed and speed.memory_bytes else None
    found, together = _mended(config, stage.name, memory.total, room)
    return StagePlan(
        name=stage.name,
        seq_length=stage.seq_length,
        token_budget=stage.token_budget,
        whole_steps=stage.steps - (1 if stage.extra_tokens else 0),
        exact_steps=stage.exact_steps,
        steps=stage.steps,
        trained_tokens=stage.trained_tokens,
        extra_tokens=stage.extra_tokens,
        start_tokens=stage.start_tokens,
        end_tokens=stage.end_tokens,
        global_batch_size=stage.global_batch_size,
        global_batch_tokens=stage.global_batch_tokens,
        micro_batch_size=stage.micro_batch_size,
        micro_batch=micro_batch(config, stage.name),
        num_microbatches=stage.num_microbatches,
        rampup_batch_tokens=stage.rampup,
        phases=plan_phases(stage),
        first_learning_rate=learning_rate(
            optim, stage.start_tokens + stage.phases[0].global_batch_tokens, total_tokens
        ),
        last_learning_rate=learning_rate(optim, stage.end_tokens, total_tokens),
        mean_visible_tokens=pairs / stage.seq_length,
        seen=seen,
        flops_per_token=per_token,
        flops=flops,
        scoring_flops=scoring,
        tokens_per_second=stage.trained_tokens * config.trainer.world_size * speed.flops / flops if speed else None,
        device_hours=flops / speed.flops / 3600 if speed else None,
        dataset_bytes=stage.trained_tokens * token_bytes(config),
        distilled_tokens=_distilled_tokens(config, stage),
        mix=config.curriculum.stages[stage.name].mix,
        memory=memory,
        recompute=stage.recompute,
        remedies=found,
        together=together,
    )


def _distilled_tokens(config: Config, stage: Stage) -> int:
    every = config.distilled_every
    return StageStreams(stage, every).distilled_samples * stage.seq_length if every else 0


def _mended(config: Config, stage: str, total: int, room: int | None) -> tuple[tuple[Remedy, ...], Remedy | None]:
    """Return what lowers a stage's memory where it is more than there is room for, and what does together."""
    if room is None or total <= room:
        return (), None
    found = remedies(config, stage, room)
    if any(remedy.total <= room for remedy in found):
        return found, None
    return found, next(iter(ways_to_fit(config, stage, room)), None)
