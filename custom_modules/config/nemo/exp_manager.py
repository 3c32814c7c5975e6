"""NeMo's keys of the experiment's folder, its checkpoints and its logs, in both versions."""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from custom_modules.config.nemo.fates import (
    COMPARED,
    NOTHING,
    REST,
    Fate,
    NemoKey,
    Outcome,
    Read,
    anyway,
    matching,
    refused,
    renamed,
    same,
    section,
    translated,
    unread,
    unread_section,
)
from custom_modules.config.nemo.settings import Refused, Settings, as_value
from custom_modules.config.nemo.trainer import every_steps, whole_number

CHECKPOINTS = "exp_manager.checkpoint_callback_params"
MONITOR, TOP_K, LAST_N = f"{CHECKPOINTS}.monitor", f"{CHECKPOINTS}.save_top_k", f"{CHECKPOINTS}.save_last_n"
TRAIN_LOSS = "reduced_train_loss"
"""NeMo's name of the training loss; the only one that checkpoints are chosen by."""
GOES_ON = "a run always goes on from the last checkpoint of its folder; for a new run give another exp_manager.name"
OWN_CHECKPOINT = (
    "a run goes on from the last checkpoint of its own folder: set exp_manager.exp_dir and exp_manager.name to that "
    "run's; for the weights of another run, set model.restore_from_path"
)
BY_AGE = (
    f"checkpoints are kept by age: set {LAST_N} to how many of the last to keep, and "
    f"{MONITOR}={TRAIN_LOSS} with save_top_k to keep those of the least training loss too"
)
EXPORT = "the command `danube convert to-hf RUN OUT` makes a Hugging Face folder of a run"
LOGS = "metrics.jsonl has all figures, and so have the TensorBoard events: leave it out, or set it to false"
OUTSIDE = "Slurm and `danube status` watch a run; leave it out"
CLOCKS = ("step", "global_step", "consumed_samples")
"""What NeMo's ``monitor`` may be for its best checkpoints to be the last ones."""


def _log_dir(value: Any, settings: Settings) -> Outcome:
    path = PurePath(str(value))
    if path.name in ("", ".."):
        raise Refused("names no folder of a run: set exp_manager.exp_dir and exp_manager.name, which is one in it")
    return Outcome({"exp_manager.exp_dir": str(path.parent), "exp_manager.name": path.name})


def _by_loss(settings: Settings) -> bool:
    return bool(as_value(settings.get(MONITOR)) == TRAIN_LOSS)


def _monitor(name: str) -> NemoKey:
    def read(value: Any, settings: Settings) -> Outcome:
        value = as_value(value)
        monitor = None if value in CLOCKS else value
        if monitor not in (None, TRAIN_LOSS):
            raise Refused(BY_AGE)
        return NOTHING if (name, value) == (MONITOR, monitor) else Outcome({MONITOR: monitor})

    clocks = f"`{'`, `'.join(CLOCKS)}`"
    here = f"`{TRAIN_LOSS}`: the same, the mean since the checkpoint before; {clocks}: null. Else: {BY_AGE}"
    return _own_or_translated(name, MONITOR, here, read)


def _top_k(name: str) -> NemoKey:
    def read(value: Any, settings: Settings) -> Outcome:
        number = as_value(value)
        if number is None:
            return NOTHING
        if number == -1:
            raise Refused(f"a disk has an end: set {LAST_N} to a number; the end of each stage is kept too")
        number = whole_number(value, "checkpoints")
        if _by_loss(settings):
            return NOTHING if name == TOP_K else Outcome({TOP_K: number})
        note = "the last ones: without a monitor checkpoints are kept by age, not by loss"
        return Outcome({LAST_N: number, **({TOP_K: None} if name == TOP_K else {})}, note)

    here = f"with `{MONITOR}={TRAIN_LOSS}` the same; else `{LAST_N}`: the last ones, not those of the least loss"
    return _own_or_translated(name, TOP_K, here, read, LAST_N)


def _own_or_translated(name: str, own: str, here: str, read: Read, *also: str) -> NemoKey:
    """A key of ours that NeMo 2 has in another section."""
    fate = Fate.SAME if name == own else Fate.TRANSLATED
    order = REST if own == MONITOR else COMPARED
    return NemoKey(name, fate, here, read, (own, *also), null_says_nothing=name != own, order=order)


def _mode(name: str) -> NemoKey:
    def read(value: Any, settings: Settings) -> Outcome:
        if as_value(value) == ("min" if _by_loss(settings) else "max"):
            return NOTHING
        raise Refused(f"those of the least {TRAIN_LOSS} are kept; leave it out" if _by_loss(settings) else BY_AGE)

    here = f"`max`: the last checkpoints are kept; with `{MONITOR}={TRAIN_LOSS}` it is `min`. Else: {BY_AGE}"
    return NemoKey(name, Fate.ANYWAY, here, read, order=COMPARED)


def _checkpoint(prefix: str) -> tuple[NemoKey, ...]:
    """The keys of a checkpoint callback: NeMo 1's and NeMo 2's have the same names."""

    def key(name: str) -> str:
        return f"{prefix}.{name}"

    return (
        _monitor(key("monitor")),
        _mode(key("mode")),
        _top_k(key("save_top_k")),
        every_steps(key("every_n_train_steps"), f"{CHECKPOINTS}.every_n_train_tokens"),
        anyway(
            key("every_n_epochs"), (None, 1), "checkpoints are by tokens", f"set {CHECKPOINTS}.every_n_train_tokens"
        ),
        refused(
            key("train_time_interval"),
            f"checkpoints are by tokens: set {CHECKPOINTS}.every_n_train_tokens; a stop by Slurm saves one besides",
        ),
        anyway(key("save_last"), (True,), "the last checkpoint is always kept"),
        anyway(key("save_weights_only"), (False,), "a checkpoint has all that a run needs to go on", EXPORT),
        anyway(
            key("save_on_train_epoch_end"), (False, None), "checkpoints are by tokens, and at the end of each stage"
        ),
        anyway(key("save_optim_on_train_end"), (True,), "every checkpoint has the optimizer's state"),
        anyway(key("save_last_n_optim_states"), (-1, None), "every checkpoint has the optimizer's state"),
        anyway(key("always_save_nemo"), (False,), "no .nemo files are written", EXPORT),
        anyway(key("save_nemo_on_train_end"), (False,), "no .nemo files are written", EXPORT),
        anyway(key("save_best_model"), (False,), "the best stay where they are", BY_AGE),
        anyway(key("always_save_context"), (True,), "every checkpoint has its config and tokenizer"),
        anyway(key("save_context_on_train_end"), (True,), "every checkpoint has its config and tokenizer"),
        anyway(key("async_save"), (False,), "the run waits until a checkpoint is whole"),
        anyway(key("enable_nemo_ckpt_io"), (False,), "checkpoints are megatron-core's"),
        refused(key("filename"), "checkpoints are called tokens_<consumed tokens>; leave it out"),
        refused(
            key("dirpath"),
            "checkpoints lie in the run's folder, exp_manager.exp_dir/exp_manager.name/checkpoints; leave it out",
        ),
        refused(
            key("filepath"),
            "checkpoints lie in the run's folder, exp_manager.exp_dir/exp_manager.name/checkpoints; leave it out",
        ),
        refused(key("prefix"), "checkpoints are called tokens_<consumed tokens>; leave it out"),
        unread(key("postfix"), "no .nemo files are written"),
        anyway(key("verbose"), (True,), "every checkpoint is logged with its path"),
        unread(key("auto_insert_metric_name"), "no metric is in a checkpoint's name"),
        matching(
            key("model_parallel_size"),
            lambda settings: (
                settings.whole("model.tensor_model_parallel_size")
                * settings.whole("model.pipeline_model_parallel_size")
            ),
            "tensor x pipeline parallel sizes",
            "it is {}, of model.tensor_model_parallel_size and model.pipeline_model_parallel_size; leave it out",
            also=(None,),
        ),
        section(prefix, f"is not here; of checkpoints {CHECKPOINTS}.every_n_train_tokens and save_last_n can be set"),
    )


def _folder(prefix: str) -> tuple[NemoKey, ...]:
    """The keys of a run's folder: NeMo 1's experiment manager and NeMo 2's logger share most of them."""

    def key(name: str) -> str:
        return f"{prefix}.{name}"

    return (
        translated(
            key("explicit_log_dir"),
            ("exp_manager.exp_dir", "exp_manager.name"),
            "`exp_manager.exp_dir` and `exp_manager.name`: the folder's own, and its name",
            _log_dir,
        ),
        refused(key("version"), "a run's folder has no versions, and is gone on with: set exp_manager.name"),
        anyway(key("use_datetime_version"), (False,), "a run's folder has no versions"),
        refused(key("files_to_copy"), "a run's folder has its config and each checkpoint its tokenizer; leave it out"),
        anyway(key("log_local_rank_0_only"), (False,), "of all nodes, rank 0 alone logs"),
        anyway(key("log_global_rank_0_only"), (True,), "of all nodes, rank 0 alone logs"),
    )


def _logger(name: str) -> tuple[NemoKey, ...]:
    switch = anyway(
        f"exp_manager.create_{name}_logger",
        (False, None),
        "metrics.jsonl and TensorBoard events are what is written",
        LOGS,
    )
    return (switch, unread_section(f"exp_manager.{name}_logger_kwargs", f"there is no {name} logger"))


def _callback(switch: str, params: str, why: str) -> tuple[NemoKey, ...]:
    return (anyway(f"exp_manager.{switch}", (False, None), why, why), unread_section(f"exp_manager.{params}", why))


EXP_MANAGER = (
    same("name", "the same: a recipe's name, which folders follow"),
    same("exp_manager.exp_dir", "the same; null: as `base.yaml` has it", {None: "runs"}),
    same("exp_manager.name", "the same"),
    *_folder("exp_manager"),
    anyway("exp_manager.resume_if_exists", (True,), "a run goes on from the last checkpoint of its folder", GOES_ON),
    anyway(
        "exp_manager.resume_ignore_no_checkpoint",
        (True,),
        "a run without a checkpoint begins",
        "a run without a checkpoint begins; leave it out",
    ),
    anyway(
        "exp_manager.resume_past_end",
        (False,),
        "a finished run is said to be finished",
        "a finished run stays finished: for more tokens add a stage to curriculum.stages",
    ),
    refused("exp_manager.resume_from_checkpoint", OWN_CHECKPOINT),
    anyway("exp_manager.disable_validation_on_resume", (True,), "a resumed run validates when its tokens are due"),
    same("exp_manager.create_tensorboard_logger"),
    refused("exp_manager.summary_writer_kwargs", "TensorBoard events lie in the run's folder; leave it out"),
    section("exp_manager.summary_writer_kwargs", "TensorBoard events lie in the run's folder; leave it out"),
    *(entry for name in ("wandb", "mlflow", "clearml", "neptune", "dllogger") for entry in _logger(name)),
    anyway(
        "exp_manager.create_checkpoint_callback",
        (True,),
        "checkpoints are always written",
        f"a run without checkpoints could not go on: set {CHECKPOINTS}.every_n_train_tokens far apart",
    ),
    *_checkpoint(CHECKPOINTS),
    *_callback(
        "create_early_stopping_callback",
        "early_stopping_callback_params",
        "a run ends with its curriculum; leave it out",
    ),
    *_callback("create_straggler_detection_callback", "straggler_detection_params", OUTSIDE),
    *_callback("create_fault_tolerance_callback", "fault_tolerance", OUTSIDE),
    *_callback(
        "create_ipl_epoch_stopper_callback",
        "ipl_epoch_stopper_callback_params",
        "a run ends with its curriculum; leave it out",
    ),
    anyway("exp_manager.create_preemption_callback", (True,), "SIGTERM saves and ends the run"),
    anyway("exp_manager.log_step_timing", (True,), "tokens a second are logged"),
    anyway("exp_manager.log_delta_step_timing", (False,), "tokens a second are logged"),
    unread_section("exp_manager.step_timing_kwargs", "tokens a second are the mean since the last line"),
    anyway(
        "exp_manager.log_tflops_per_sec_per_gpu",
        (True,),
        "the share of the peak (MFU) is logged where the peak is known",
    ),
    anyway("exp_manager.ema.enable", (False, None), "there is no moving average of the weights"),
    unread_section("exp_manager.ema", "there is no moving average of the weights"),
    refused("exp_manager.max_time_per_run", "a job's time limit ends a run, and it saves before: set Slurm's --time"),
    anyway("exp_manager.seconds_to_sleep", (0,), "nothing sleeps at the start"),
    *(
        unread(f"s3_checkpointing.{name}", "checkpoints lie on a file system, none in S3")
        for name in ("max_write_concurrency", "max_read_concurrency", "chunk_size_MB")
    ),
    anyway("s3_checkpointing.enable_async_checkpointing", (False,), "the run waits until a checkpoint is whole"),
)

NEMO_2 = (
    renamed("log.log_dir", "exp_manager.exp_dir"),
    renamed("log.dir", "exp_manager.exp_dir"),
    renamed("log.name", "exp_manager.name"),
    *_folder("log"),
    anyway("log.update_logger_directory", (True,), "TensorBoard events lie in the run's folder"),
    *_checkpoint("log.ckpt"),
    refused("log.tensorboard", "set exp_manager.create_tensorboard_logger"),
    section("log.tensorboard", "TensorBoard events lie in the run's folder; set exp_manager.create_tensorboard_logger"),
    refused("log.wandb", LOGS),
    section("log.wandb", LOGS),
    refused("log.extra_loggers", LOGS),
    anyway("resume.resume_if_exists", (True,), "a run goes on from the last checkpoint of its folder", GOES_ON),
    anyway("resume.resume_ignore_no_checkpoint", (True,), "a run without a checkpoint begins"),
    anyway(
        "resume.resume_past_end",
        (False,),
        "a finished run is said to be finished",
        "a finished run stays finished: for more tokens add a stage to curriculum.stages",
    ),
    refused("resume.resume_from_directory", OWN_CHECKPOINT),
    refused("resume.resume_from_path", OWN_CHECKPOINT),
    renamed("resume.restore_config.path", "model.restore_from_path"),
    anyway("resume.restore_config.load_model_state", (True,), "model.restore_from_path loads weights"),
    anyway("resume.restore_config.load_optim_state", (False,), "model.restore_from_path loads weights alone"),
)
