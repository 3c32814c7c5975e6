"""All commands, by name, in the order in which `danube --help` lists them."""

from __future__ import annotations

from custom_modules.commands import (
    bench,
    chat,
    check_data,
    compare,
    convert,
    doctor,
    dpo,
    ended,
    evaluate,
    inspect,
    mt_bench,
    plan,
    preflight,
    prepare,
    pretrain,
    prune_tokenizer,
    remap_tokenizer,
    report,
    sample,
    sft,
    status,
    submission,
    teach,
    train_quality,
)
from custom_modules.commands.command import Command
from custom_modules.commands.options import take_config

COMMANDS = {
    "plan": Command(
        "Say what a run will be: steps, learning rates, memory, GPU-hours. Needs no GPU.",
        plan.add_arguments,
        plan.run,
    ),
    "prepare": Command("Turn text into one indexed dataset per stage.", prepare.add_arguments, prepare.run),
    "teach": Command(
        "Have a teacher, MODEL, speak on the distilled parts of the data. Goes on where it was.",
        teach.add_arguments,
        teach.run,
        in_processes=True,
    ),
    "pretrain": Command(
        "Train: all stages, or up to the end of curriculum.stage. Resumes by itself.",
        take_config,
        pretrain.run,
        in_processes=True,
    ),
    "sft": Command(
        "Fine-tune a trained run on conversations, all of its layers. Resumes by itself.",
        sft.add_arguments,
        sft.run,
        in_processes=True,
    ),
    "dpo": Command(
        "Align an exported chat model, or a DPO run, on pairs of answers: DPO with LoRA. Resumes by itself.",
        dpo.add_arguments,
        dpo.run,
        in_processes=True,
    ),
    "preflight": Command(
        "Check nodes, folders and network as `pretrain` or `sft` would use them, in seconds.",
        take_config,
        preflight.run,
        in_processes=True,
    ),
    "doctor": Command(
        "Say what a run needs of this machine, and what to install; code 2 if it lacks any.",
        doctor.add_arguments,
        doctor.run,
    ),
    "bench": Command(
        "Time the training steps of a config and its variants, stage by stage. Saves nothing.",
        bench.add_arguments,
        bench.run,
        in_processes=True,
    ),
    "submission": Command(
        "What slurm/curriculum.sh asks sbatch for: a line per stage.", submission.add_arguments, submission.run
    ),
    "ended": Command(
        "What it means that a run's process ended with this code, and where the run stands.",
        ended.add_arguments,
        ended.run,
    ),
    "check-data": Command(
        "Find every fault in prepared data that megatron-core does not notice.",
        check_data.add_arguments,
        check_data.run,
    ),
    "inspect": Command(
        "List the datasets of a folder, or show documents of one, decoded.", inspect.add_arguments, inspect.run
    ),
    "train-quality": Command(
        "Train a small model that scores the quality of texts, and report on it.",
        train_quality.add_arguments,
        train_quality.run,
    ),
    "prune-tokenizer": Command(
        "Make a tokenizer of the tokens of tiktoken's that a text needs most.",
        prune_tokenizer.add_arguments,
        prune_tokenizer.run,
    ),
    "convert": Command(
        "Convert checkpoints from and to Hugging Face, and to llama.cpp.", convert.add_arguments, convert.run
    ),
    "remap-tokenizer": Command(
        "Begin a run with a checkpoint's weights and another tokenizer.",
        remap_tokenizer.add_arguments,
        remap_tokenizer.run,
    ),
    "status": Command(
        "How far a run is: stage, tokens, loss, speed, ETA, last checkpoint, Slurm job.",
        status.add_arguments,
        status.run,
    ),
    "sample": Command(
        "Generate text from a Hugging Face folder with transformers, or compare several.",
        sample.add_arguments,
        sample.run,
    ),
    "chat": Command("Talk to an exported chat model.", chat.add_arguments, chat.run),
    "mt-bench": Command(
        "Have a chat model answer MT-Bench, and a judge rate it: the paper's Table 3. Goes on where it was.",
        mt_bench.add_arguments,
        mt_bench.run,
    ),
    "evaluate": Command(
        "Run a suite of benchmarks on a run or a model: the papers' tables. Goes on where it was.",
        evaluate.add_arguments,
        evaluate.run,
        in_processes=True,
    ),
    "compare": Command(
        "Say whether one model is better than another, by two evaluations of the same items.",
        compare.add_arguments,
        compare.run,
    ),
    "report": Command(
        "Draw the paper's Figures 1 and 2 from a run: PNGs and a self-contained page.",
        report.add_arguments,
        report.run,
    ),
}
