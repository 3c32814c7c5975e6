"""A recipe's values as trl's and peft's arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING

from custom_modules.config.dpo import DpoConfig
from custom_modules.errors import UserError

if TYPE_CHECKING:
    from peft import LoraConfig
    from trl import DPOConfig


def accumulation(config: DpoConfig) -> int:
    """Return how many micro-batches each process has in a step.

    Raises:
        UserError: the pairs of a step are not a multiple of those that all processes take at a time.
    """
    model, processes = config.model, config.trainer.world_size
    at_a_time = model.micro_batch_size * processes
    if model.global_batch_size % at_a_time:
        raise UserError(
            f"model.global_batch_size={model.global_batch_size}: not a multiple of model.micro_batch_size="
            f"{model.micro_batch_size} times {processes} process(es); set trainer.devices or these"
        )
    return model.global_batch_size // at_a_time


def warmup_steps(config: DpoConfig, steps: int) -> int:
    """Return the steps of the warm-up, by the steps of an epoch."""
    return round(config.model.optim.sched.warmup_epochs * steps)


def training_arguments(config: DpoConfig, accelerator: str, steps: int) -> DPOConfig:
    """Return trl's arguments: nothing of it is logged, saved or evaluated by transformers itself.

    Args:
        accelerator: gpu or cpu.
        steps: of an epoch.
    """
    from trl import DPOConfig

    model, optim, is_bf16 = config.model, config.model.optim, config.trainer.precision == "bf16-mixed"
    recomputes = model.activations_checkpoint_granularity == "full"
    return DPOConfig(
        output_dir=str(config.run_dir),
        use_cpu=accelerator == "cpu",
        bf16=is_bf16,
        seed=model.seed,
        per_device_train_batch_size=model.micro_batch_size,
        gradient_accumulation_steps=accumulation(config),
        num_train_epochs=config.trainer.max_epochs,
        gradient_checkpointing=recomputes,
        gradient_checkpointing_kwargs={"use_reentrant": False} if recomputes else None,
        optim="adamw_torch",
        learning_rate=optim.lr,
        weight_decay=optim.weight_decay,
        adam_beta1=optim.betas[0],
        adam_beta2=optim.betas[1],
        adam_epsilon=optim.eps,
        max_grad_norm=optim.clip_grad or 0.0,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr": optim.sched.min_lr},
        warmup_steps=warmup_steps(config, steps),
        beta=model.dpo.ref_policy_kl_penalty,
        loss_type=["sigmoid"],
        disable_dropout=False,
        max_length=None,
        ddp_find_unused_parameters=False,
        dataloader_pin_memory=accelerator == "gpu",
        logging_strategy="no",
        logging_nan_inf_filter=False,
        save_strategy="no",
        eval_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )


def adapter_config(config: DpoConfig) -> LoraConfig:
    """Return peft's config of the adapter: on every linear but the head, without bias."""
    from peft import LoraConfig

    lora = config.model.peft.lora_tuning
    return LoraConfig(
        r=lora.adapter_dim,
        lora_alpha=lora.alpha,
        lora_dropout=lora.adapter_dropout,
        target_modules="all-linear",
        bias="none",
        task_type="CAUSAL_LM",
    )
