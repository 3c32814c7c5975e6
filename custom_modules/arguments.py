"""What the `danube` command takes: its subcommands and their options."""

from __future__ import annotations

import argparse
from pathlib import Path

EPILOG = """\
Values are overridden as with NeMo: KEY=VALUE, for example trainer.devices=8 model.micro_batch_size=2.
Every key is in nemo_configs/base.yaml. Exit codes: 0 done, 2 a mistake to correct, 3 the loss is not finite,
74 the machine failed in a way that may pass (a port in use, a file server that does not answer: try again),
75 stopped by a signal and saved (the same command goes on)."""


def _path(text: str) -> Path:
    """Refuse what an unset variable leaves: `Path` would take it for the working directory."""
    if not text.strip():
        raise argparse.ArgumentTypeError("a path is needed, not nothing: is a variable unset?")
    return Path(text)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text}: give 1 or more")
    return number


def parser() -> argparse.ArgumentParser:
    """Build the parser of the whole command line. Overrides among the options are left over by ``parse_known_args``:
    `is_override`."""
    main_parser = argparse.ArgumentParser(
        prog="danube",
        description="Pre-train H2O-Danube on megatron-core, from raw text to a Hugging Face checkpoint.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = main_parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def add(
        name: str, text: str, configured: bool, to: argparse._SubParsersAction | None = None, words: str = ""
    ) -> argparse.ArgumentParser:
        command = (to or commands).add_parser(
            name, help=text, description=text, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if configured:
            take_config(command, words)
        return command

    def take_config(command: argparse.ArgumentParser, words: str = "") -> None:
        command.add_argument("--config-name", default="danube_1_8b", help="a file of nemo_configs/, without .yaml")
        command.add_argument(
            "--config-dir", "--config-path", type=_path, help="a folder of your own configs, which may build on ours"
        )
        command.set_defaults(takes_words=bool(words))
        command.add_argument(
            "overrides", nargs="*", metavar=f"{words}KEY=VALUE", help="values that differ from the files"
        )

    plan = add("plan", "Say what a run will be: steps, learning rates, memory, GPU-hours. Needs no GPU.", True)
    plan.add_argument("--mfu", type=float, help="model FLOPs utilisation to count GPU-hours with, such as 0.4")
    plan.add_argument("--gpu", help="the chip to plan for, such as H100")
    plan.add_argument("--json", action="store_true", help="print JSON")
    prepare = add("prepare", "Turn text into one indexed dataset per stage.", True)
    prepare.add_argument("--help-steps", action="store_true", help="list the steps with their options and defaults")
    prepare.add_argument(
        "--only", metavar="STEP", help="run this step alone; data.dir/only/STEP/ gets what it keeps and removes"
    )
    prepare.add_argument(
        "--replace", action="store_true", help="put other data in place of data that a run was started on"
    )
    teach = add(
        "teach",
        "Have a teacher, MODEL, speak on the distilled parts of the data. Goes on where it was.",
        True,
        words="MODEL ",
    )
    teach.add_argument("--teacher", required=True, metavar="NAME", help="what distillation.teachers calls it")
    teach.add_argument(
        "--texts", action="store_true", help="it continues the first distillation.prefix_tokens of each document"
    )
    teach.add_argument(
        "--import",
        dest="answers",
        type=_path,
        nargs="+",
        action="extend",
        default=[],
        metavar="FILE",
        help="take an API's answers instead: JSON lines of hash, text and, if there is one, OpenAI's logprobs",
    )
    teach.add_argument("--prompts", type=_path, metavar="FILE", help="write what an API is to continue, as JSON lines")
    teach.add_argument("--length", type=_positive, metavar="N", help="tokens that the model reads at a time")
    teach.add_argument("--shard-tokens", type=_positive, metavar="N", help="tokens done at a time, and lost at a kill")
    teach.add_argument("--temperature", type=float, default=1.0, help="of --texts; default: 1")
    teach.add_argument("--top-p", type=float, default=1.0, help="of --texts: the share of probability drawn from")
    add("pretrain", "Train: all stages, or up to the end of curriculum.stage. Resumes by itself.", True)
    add("preflight", "Check nodes, folders and network as `pretrain` would use them, in seconds.", True)
    doctor = add("doctor", "Say what a run needs of this machine, and what to install; code 2 if it lacks any.", True)
    doctor.set_defaults(config_name=None)
    doctor.add_argument("--gpu", action="store_true", help="for a run on GPUs; default: as the config or this machine")
    doctor.add_argument("--slurm", action="store_true", help="for a job under Slurm; default: inside one")
    doctor.add_argument("--timeout", type=float, default=60.0, help="seconds that each thing looked at has to answer")
    doctor.add_argument("--json", action="store_true", help="print JSON")
    bench = add("bench", "Time the training steps of a config and its variants, stage by stage. Saves nothing.", True)
    bench.add_argument("--steps", type=int, default=10, help="steps to time, of each stage, or phase of its batch")
    bench.add_argument("--warmup", type=int, default=3, help="steps before them that do not count")
    bench.add_argument("--stages", help="names with commas between; default: all")
    bench.add_argument(
        "--variant",
        action="append",
        default=[],
        metavar="'NAME: KEY=VALUE ...'",
        help="a line of the table; default: bf16 and FP8 on a GPU with Transformer Engine, else the config as it is",
    )
    bench.add_argument("--random-tokens", action="store_true", help="even where data.dir is prepared")
    bench.add_argument("--json", action="store_true", help="print JSON")
    bench.add_argument("--into", type=_path, help=argparse.SUPPRESS)
    submission = add("submission", "What slurm/curriculum.sh asks sbatch for: a line per stage.", True)
    submission.add_argument("--from", dest="first", metavar="STAGE", help="the first stage; default: of the curriculum")
    submission.add_argument("--to", dest="last", metavar="STAGE", help="the last stage; default: of the curriculum")
    submission.add_argument("--after", metavar="JOB", help="a job that will leave the run where the first stage starts")

    ended = add("ended", "What it means that a run's process ended with this code, and where the run stands.", True)
    ended.add_argument("--code", type=int, required=True, help="of a process that a signal has ended: above 128")

    check = add("check-data", "Find every fault in prepared data that megatron-core does not notice.", False)
    check.add_argument("directory", type=_path, help="a data.dir, or a folder of Megatron .bin and .idx files")
    check.add_argument("--quick", action="store_true", help="read some blocks of each file, and compare no hashes")
    check.add_argument(
        "--run", type=_path, action="append", default=[], help="a run whose index caches are checked too"
    )
    check.add_argument("--vocab-size", type=int, help="of the tokens; default: the tokenizer's beside the data")
    check.add_argument("--eos-id", type=int, help="the token that ends a document; default: the tokenizer's")

    inspect = add("inspect", "List the datasets of a folder, or show documents of one, decoded.", False)
    inspect.add_argument("dataset", type=_path, help="a folder, or a dataset's prefix, .bin or .idx")
    inspect.add_argument("--document", type=int, help="the first to show, from 0")
    inspect.add_argument("--count", type=int, default=3, help="how many documents to show")
    inspect.add_argument("--max-chars", type=int, default=2000, help="of each document")

    quality = add("train-quality", "Train a small model that scores the quality of texts, and report on it.", False)
    quality.add_argument("kind", choices=("gbm", "encoder"), help="LightGBM on the heuristics' features, or a BERT")
    quality.add_argument("output", type=_path, help="the model's folder to write")
    for name, text in (
        ("good", "reference text"),
        ("raw", "text to tell it from"),
        ("labelled", "JSON lines with a label or score, instead of both"),
    ):
        quality.add_argument(f"--{name}", type=_path, action="append", default=[], metavar="PATH", help=text)
    quality.add_argument("--json", action="store_true", help="print the evaluation as JSON")
    quality.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="options: data_prep/quality/options.py")

    prune = add("prune-tokenizer", "Make a tokenizer of the tokens of tiktoken's that a text needs most.", False)
    prune.add_argument("source", type=_path, help="cl100k_base.tiktoken, or another file of that form")
    prune.add_argument("output", type=_path, help="the tokenizer's folder to write")
    prune.add_argument(
        "--vocab-size", type=int, metavar="N", help="tokens to keep, <|endoftext|> among them; default: all"
    )
    prune.add_argument("--on", nargs="+", action="extend", default=[], metavar="TEXT", help="as data.input has it")
    known = prune.add_mutually_exclusive_group()
    known.add_argument("--sha256", metavar="HASH", help="that a file under another name than cl100k_base's must have")
    known.add_argument("--any", action="store_true", help="take a file of another name whatever its hash")
    prune.add_argument("--text-key", default="text", help="the field that holds a text, in JSON lines and Parquet")
    prune.add_argument(
        "--on-damaged-file", choices=("fail", "skip"), default="fail", help="skip: count what can be read"
    )
    prune.add_argument("--workers", type=_positive, metavar="N", help="processes; default: one a core")
    prune.add_argument("--json", action="store_true", help="print the figures as JSON")

    convert = add("convert", "Convert checkpoints from and to Hugging Face, and to llama.cpp.", False)
    directions = convert.add_subparsers(dest="direction", metavar="DIRECTION", required=True)
    to_hf = add(
        "to-hf", "Write a Hugging Face folder (of Danube: MistralForCausalLM) from a checkpoint.", False, directions
    )
    to_hf.add_argument("source", type=_path, help="a run's folder (its newest checkpoint) or one checkpoint's")
    to_hf.add_argument("output", type=_path, help="the folder to write")
    to_hf.add_argument("--dtype", choices=("bf16", "fp32"), help="of the weights; default: as trained")
    to_hf.add_argument("--overwrite", action="store_true", help="replace the output folder if it is there")
    to_hf.add_argument(
        "--verify", action="store_true", help="compare logits and validation loss with the trained model's"
    )
    to_hf.add_argument("--verify-text", type=_path, help="the same, and the logits are compared on this text")
    to_hf.add_argument("--data-dir", type=_path, help="for --verify: the run's prepared data; default: its data.dir")
    to_gguf = add("to-gguf", "Write a file for llama.cpp from a checkpoint of LokiLM's kind.", False, directions)
    to_gguf.add_argument("source", type=_path, help="a run's folder (its newest checkpoint) or one checkpoint's")
    to_gguf.add_argument("output", type=_path, help="the .gguf file to write")
    to_gguf.add_argument("--dtype", choices=("bf16", "fp32"), help="of the matrices; default: as trained")
    to_gguf.add_argument("--overwrite", action="store_true", help="replace the output if it is an earlier export")
    from_hf = add("from-hf", "Write a checkpoint from a Hugging Face folder.", False, directions)
    from_hf.add_argument(
        "source", type=_path, help="the folder of a model of the config's architecture (of Danube: MistralForCausalLM)"
    )
    from_hf.add_argument("output", type=_path, help="the checkpoint's run folder to write")
    take_config(from_hf)

    remap = add("remap-tokenizer", "Begin a run with a checkpoint's weights and another tokenizer.", False)
    remap.add_argument("source", type=_path, help="a run's folder (its newest checkpoint) or one checkpoint's")
    remap.add_argument("output", type=_path, help="the new run's folder to write")
    remap.add_argument(
        "--to", metavar="TOKENIZER", type=_path, required=True, help="the new tokenizer.model, tokenizer.json or folder"
    )
    remap.add_argument(
        "--from", dest="old", metavar="TOKENIZER", type=_path, help="refuse a checkpoint that was trained with another"
    )
    remap.add_argument(
        "--optimizer", choices=("reset", "carry"), default="reset", help="begin it anew, or keep its moments"
    )
    remap.add_argument("--seed", type=int, help="of the rows that are drawn; default: model.seed")
    take_config(remap)
    remap.set_defaults(config_name=None)  # without one the checkpoint's own config is kept

    status = add("status", "How far a run is: stage, tokens, loss, speed, ETA, last checkpoint, Slurm job.", False)
    status.add_argument("run_dir", type=_path, help="the run's folder")
    status.add_argument("--json", action="store_true", help="print JSON")

    sample = add("sample", "Generate text from a Hugging Face folder with transformers, or compare several.", False)
    sample.add_argument("source", nargs="?", type=_path, help="the folder that `danube convert to-hf` wrote")
    sample.add_argument("--prompt", default="Return the", help="what the text begins with")
    sample.add_argument("--max-new-tokens", type=_positive, default=64)
    sample.add_argument("--seed", type=int, default=1234)
    sample.add_argument(
        "--compare",
        nargs="+",
        type=_path,
        metavar="RUN_OR_EXPORT",
        help="write a page with the answers of exports, checkpoints or runs (the newest and the best) side by side",
    )
    sample.add_argument("--prompts", type=_path, metavar="FILE", help="YAML: a list of {name: ..., prompt: ...}")
    sample.add_argument("--output", type=_path, default=Path("comparison"), help="the page's folder to write")
    sample.add_argument("--overwrite", action="store_true", help="replace the output if it is an earlier comparison")
    sample.add_argument("--blind", action="store_true", help="the page does not say whose an answer is")
    sample.add_argument("--marks", type=_path, metavar="FILE", help="add up by model the marks that a page has saved")
    sample.add_argument(
        "--of", type=_path, metavar="FOLDER", help="for --marks: the page's folder; default: the marks'"
    )

    report = add("report", "Draw the paper's Figures 1 and 2 from a run: PNGs and a self-contained page.", False)
    report.add_argument("run_dir", type=_path, help="the run's folder")
    report.add_argument("--output", type=_path, help="where to write; default: RUN_DIR/report")
    return main_parser


def is_override(word: str) -> bool:
    """Whether a word of the command line is Hydra's ``KEY=VALUE`` or ``~KEY``."""
    return not word.startswith("-") and ("=" in word or word.startswith("~"))
