"""NeMo's keys of the trainer, which are Lightning's; and what is in steps."""

from __future__ import annotations

from typing import Any

from custom_modules.config.nemo.fates import (
    DURATIONS,
    NOTHING,
    Fate,
    NemoKey,
    Outcome,
    anyway,
    refused,
    renamed,
    same,
    section,
    translated,
    unread,
)
from custom_modules.config.nemo.settings import Refused, Settings, as_value

NO_FP16 = "there is no fp16 here; use bf16-mixed"
PLUGINS = "plugins are NeMo's objects; set trainer.precision, model.fp8 and model.optim.grad_sync_dtype"
SELDOM = (
    "a stage's end is always validated: set trainer.val_every_n_tokens to more than a stage has, and "
    "trainer.limit_val_tokens to as few as you like"
)
CUT = "a run ends when its stages' tokens are trained: set curriculum.stages.<stage>.tokens"


def whole_number(value: Any, what: str) -> int:
    """Return a number of steps, batches or samples.

    Raises:
        Refused: it is none, or not above 0.
    """
    number = as_value(value)
    if isinstance(number, float) and number.is_integer() and number > 1:
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number < 1:
        raise Refused(f"needs a whole number of {what} above 0")
    return number


def every_steps(name: str, ours: str, never: str = "") -> NemoKey:
    """An interval in steps, or a number of batches: tokens here; ``never`` is what to do instead of 0."""

    def read(value: Any, settings: Settings) -> Outcome:
        number = as_value(value)
        if isinstance(number, float) and 0 < number <= 1:
            raise Refused(f"a share of an epoch or of the validation data is no unit here; set {ours}, in tokens")
        if number == 0 and never:
            raise Refused(never)
        steps = whole_number(number, "steps")
        try:
            batch = settings.constant_batch()
        except Refused as error:
            raise Refused(f"{error}; set {ours}, in tokens") from None
        return Outcome({ours: steps * batch}, f"{steps:,} x {batch:,} tokens")

    return translated(name, (ours,), f"`{ours}`: as many steps' tokens", read)


def _max_steps(value: Any, settings: Settings) -> Outcome:
    if as_value(value) == -1:
        return Outcome({}, "the run's length is its stages' tokens")
    steps = whole_number(value, "steps")
    put: dict[str, Any] = {}
    for part in settings.steps_by_stage(steps):
        key = f"curriculum.stages.{part.stage}"
        if not part.steps:
            put[key] = None
        elif not part.is_whole:
            put[f"{key}.tokens"] = part.tokens
    return Outcome(put, f"the run and its learning rate end after {steps:,} steps")


def _max_epochs(value: Any, settings: Settings) -> Outcome:
    epochs = as_value(value)
    if epochs in (-1, None):
        return Outcome({}, "the run's length is its stages' tokens")
    return Outcome({"data.max_epochs": whole_number(value, "epochs")}, "how often a stage may read its data, at most")


def _all_batches(value: Any, settings: Settings) -> Outcome:
    # 1.0 is all of them, and 1 is one.
    if as_value(value) is None or (isinstance(as_value(value), float) and as_value(value) == 1):
        return NOTHING
    raise Refused(CUT)


def _clip(value: Any, settings: Settings) -> Outcome:
    norm = as_value(value)
    if isinstance(norm, bool) or not isinstance(norm, (int, float)) or norm <= 0:
        raise Refused(
            "gradients are always clipped; a large model.optim.clip_grad, such as 1e9, leaves them as they are"
        )
    return Outcome({"model.optim.clip_grad": float(norm)})


def _max_time(value: Any, settings: Settings) -> Outcome:
    parts = str(value).split(":")
    if len(parts) == 4 and all(part.isdigit() for part in parts):
        days, hours, minutes, seconds = map(int, parts)
        limit = str(((days * 24 + hours) * 60 + minutes) * 60 + seconds)
    else:
        limit = "SECONDS"
    raise Refused(
        "a job's time limit ends a run here, and it saves before: set Slurm's --time; without Slurm, start it as "
        f"`timeout --signal=TERM {limit} danube pretrain ...`"
    )


LIGHTNING = (
    same(
        "trainer.devices",
        no={-1: "give the number of GPUs of a node, such as 8", "auto": "give the number of GPUs of a node, such as 8"},
    ),
    renamed("trainer.gpus", "trainer.devices"),
    same("trainer.num_nodes"),
    same("trainer.accelerator", values={"cuda": "gpu"}),
    same(
        "trainer.precision",
        "the same: `bf16`, `bf16-mixed`, `32` and `32-true`; not fp16",
        no=dict.fromkeys((16, "16-mixed", "16-true", "fp16"), NO_FP16)
        | {"bf16-true": "weights are updated in fp32: use bf16-mixed", 64: "use 32-true", "64-true": "use 32-true"},
    ),
    translated(
        "trainer.max_steps",
        ("curriculum.stages",),
        "`curriculum.stages.<stage>.tokens`: the stage in which that step is ends with it, and later ones are left out",
        _max_steps,
        order=DURATIONS,
    ),
    anyway("trainer.min_steps", (None,), "a run trains its stages' tokens, neither fewer nor more"),
    translated(
        "trainer.max_epochs",
        ("data.max_epochs",),
        "`data.max_epochs`; null and -1: no other limit",
        _max_epochs,
        null_says_nothing=False,
    ),
    anyway("trainer.min_epochs", (None,), "a run trains its stages' tokens, neither fewer nor more"),
    NemoKey(
        "trainer.max_time",
        Fate.REFUSED,
        "set Slurm's `--time`, or start the run under `timeout`: it saves before it ends",
        _max_time,
        null_says_nothing=True,
    ),
    every_steps("trainer.val_check_interval", "trainer.val_every_n_tokens", SELDOM),
    every_steps("trainer.limit_val_batches", "trainer.limit_val_tokens", SELDOM),
    every_steps("trainer.log_every_n_steps", "trainer.log_every_n_tokens"),
    unread("trainer.limit_test_batches", "nothing is tested in pre-training, here as with NeMo"),
    NemoKey(
        "trainer.limit_train_batches",
        Fate.ANYWAY,
        f"`null` or `1.0`: a stage trains its tokens. Else: {CUT}",
        _all_batches,
    ),
    anyway("trainer.limit_predict_batches", (None, 1.0), "nothing is predicted in pre-training"),
    anyway("trainer.overfit_batches", (0, 0.0, None), "a stage trains on all of its data"),
    anyway(
        "trainer.fast_dev_run",
        (False, 0),
        "the dry run before the first step tries every stage",
        "set trainer.dry_run=true",
    ),
    anyway("trainer.check_val_every_n_epoch", (None, 1), "validation is by tokens", "set trainer.val_every_n_tokens"),
    anyway("trainer.num_sanity_val_steps", (0,), "no validation before the first step; the dry run tries each stage"),
    anyway(
        "trainer.accumulate_grad_batches",
        (1, None),
        "how many micro-batches a step has follows from the batch",
        "how many micro-batches a step has follows from model.global_batch_tokens and model.micro_batch_tokens: "
        "set those",
    ),
    translated(
        "trainer.gradient_clip_val",
        ("model.optim.clip_grad",),
        "`model.optim.clip_grad`",
        _clip,
        null_says_nothing=False,
    ),
    anyway("trainer.gradient_clip_algorithm", ("norm", None), "gradients are clipped by their norm"),
    anyway("trainer.track_grad_norm", (-1, 2, None), "metrics.jsonl has the 2-norm of the gradients"),
    anyway(
        "trainer.logger",
        (False,),
        "metrics.jsonl and TensorBoard events are written by the run itself",
        "metrics.jsonl is always written, and TensorBoard events with exp_manager.create_tensorboard_logger=true: "
        "set trainer.logger=false",
    ),
    anyway(
        "trainer.enable_checkpointing",
        (False,),
        "checkpoints are the run's own, every exp_manager.checkpoint_callback_params.every_n_train_tokens",
        "Lightning's checkpoints are not needed, as the run has its own "
        "(exp_manager.checkpoint_callback_params.every_n_train_tokens); set trainer.enable_checkpointing=false",
    ),
    anyway("trainer.use_distributed_sampler", (False,), "each data-parallel rank reads its own samples"),
    anyway("trainer.replace_sampler_ddp", (False,), "each data-parallel rank reads its own samples"),
    anyway("trainer.benchmark", (False, None), "cuDNN does not search for kernels: there are no convolutions"),
    anyway("trainer.enable_model_summary", (False,), "`danube plan` shows the parameters"),
    anyway("trainer.enable_progress_bar", (False,), "lines are logged every trainer.log_every_n_tokens"),
    anyway("trainer.detect_anomaly", (False,), "a loss or a gradient norm that is not finite always ends the run"),
    anyway("trainer.sync_batchnorm", (False,), "there is no batch norm"),
    anyway("trainer.inference_mode", (True,), "validation keeps no gradients"),
    anyway(
        "trainer.profiler",
        (None,),
        "there is no profiler",
        "there is no profiler in training; `danube bench` times a step's parts",
    ),
    anyway("trainer.barebones", (False,), "a run logs, validates and saves"),
    anyway("trainer.reload_dataloaders_every_n_epochs", (0,), "data is read in its order, once a pass"),
    renamed("trainer.default_root_dir", "exp_manager.exp_dir"),
    refused("trainer.callbacks", "callbacks are NeMo's objects, and what they do has keys here; leave it out"),
    refused("trainer.plugins", PLUGINS),
    section("trainer.plugins", PLUGINS),
    same("trainer.deterministic"),
    anyway(
        "trainer.strategy",
        ("auto", "ddp", None),
        "data parallelism over all devices that the model is not divided over",
        "parallelism is set by model.tensor_model_parallel_size, pipeline_model_parallel_size, "
        "context_parallel_size and fsdp",
    ),
    refused(
        "trainer.resume_from_checkpoint",
        "a run goes on from the last checkpoint of its own folder; for the weights of another, set "
        "model.restore_from_path",
    ),
)
