"""The `danube` command. Each subcommand imports what it needs when it runs, so `--help` and `plan` answer at once."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from custom_modules.arguments import is_override, parser
from custom_modules.errors import EXIT_SAVED, EXIT_USER_ERROR, OwnShareError, StoppedBySignal, UserError, exit_code
from custom_modules.files import refused
from custom_modules.standard_streams import complain, open_closed_streams
from custom_modules.version import PYTHONS

if TYPE_CHECKING:
    from custom_modules.config.schema import Config
    from custom_modules.platform.world import Pod
    from custom_modules.training.signals import StopRequest


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code. Mistakes of the user's end in one line on stderr."""
    open_closed_streams()
    if not PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]:
        (found, first, last) = (".".join(map(str, version)) for version in (sys.version_info[:3], *PYTHONS))
        complain(f"Python {found} ({sys.executable}): Danube runs on {first} to {last}; start it with one of them")
        return EXIT_USER_ERROR
    arguments = list(sys.argv[1:] if argv is None else argv)
    options, rest = parser().parse_known_args(arguments)
    unknown = [word for word in rest if not _is_taken(word, options)]
    if unknown:
        parser().error(f"unrecognized arguments: {' '.join(unknown)}")
    if rest:
        options.overrides = [*options.overrides, *rest]
    try:
        return _run(options, arguments)
    except OwnShareError as error:
        complain(error)
        return exit_code(error)
    except UserError as error:
        _say_once(error, options.command)
        return exit_code(error)
    except StoppedBySignal as stop:
        _say_once(stop, options.command)
        return EXIT_SAVED
    except KeyboardInterrupt:
        complain("interrupted")
        return 130
    except BrokenPipeError:
        sys.stderr.close()
        return 141
    except OSError as error:
        message = refused(error)
        if message is None:
            raise
        complain(message)
        return exit_code(message)


def _is_taken(word: str, options: argparse.Namespace) -> bool:
    """Tell whether a word that the parser has left over is one of a command's overrides, or another that it takes."""
    takes_words = getattr(options, "takes_words", False) and not word.startswith("-")
    return hasattr(options, "overrides") and (is_override(word) or takes_words)


def _say_once(message: Exception, command: str) -> None:
    """All processes of a run come here with the same message; rank 0 prints it.

    A shell may have a rank in its environment, too: a command that is none of a run's processes says what it has to.
    """
    from custom_modules.platform.world import World

    rank = 0
    if command in ("pretrain", "preflight", "bench", "teach"):
        with suppress(UserError):
            rank = World.from_environment().rank
    if rank == 0:
        complain(message)


def _run(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    if options.command == "convert":
        return _convert(options)
    if options.command == "remap-tokenizer":
        return _remap_tokenizer(options)
    if options.command == "sample":
        return _sample(options)
    if options.command == "check-data":
        return _check_data(options)
    if options.command == "doctor":
        return _doctor(options)
    if options.command == "inspect":
        from custom_modules.data.inspect import inspect

        for line in inspect(options.dataset, options.document, options.count, options.max_chars):
            print(line)
        return 0
    if options.command == "train-quality":
        return _train_quality(options)
    if options.command == "prune-tokenizer":
        return _prune_tokenizer(options)
    if options.command == "report":
        from custom_modules.report import draw

        for path in draw(options.run_dir, options.output):
            print(path)
        return 0

    if options.command == "status":
        from custom_modules.cluster.status import as_json as status_json
        from custom_modules.cluster.status import read_status, render_status

        status = read_status(options.run_dir)
        print(status_json(status) if options.json else render_status(status))
        return 0
    if options.command == "bench":
        return _bench(options)
    if options.command == "ended":
        return _ended(options)
    if options.command == "teach":
        return _teach(options, arguments)
    if options.command in ("pretrain", "preflight"):
        return _on_every_process(options, arguments)

    if options.command == "prepare" and options.help_steps:
        from custom_modules.data_steps.find import help_page

        print(help_page())
        return 0

    from custom_modules.config.load import load_config

    config = load_config(options.config_name, options.overrides, options.config_dir)
    if options.command == "plan":
        from custom_modules.config.without_effect import without_effect
        from custom_modules.plan.plan import build_plan
        from custom_modules.plan.render import as_json, render_text
        from custom_modules.text import say_once

        for line in without_effect(config):
            say_once(line)
        plan = build_plan(config, mfu=options.mfu, gpu=options.gpu)
        print(as_json(plan) if options.json else render_text(plan))
    elif options.command == "submission":
        from custom_modules.cluster.submission import plan_submission

        for line in plan_submission(config, options.first, options.last, options.after):
            print(line)
    else:
        _prepare(config, options.only, options.replace)
    return 0


def _prepare(config: Config, only: str | None, replace: bool) -> None:
    if only is not None:
        from data_prep.only import run_step

        run_step(config, only)
        return
    from custom_modules.config.without_effect import without_effect_in_preparing
    from custom_modules.text import say_once
    from data_prep.prepare import run

    for line in without_effect_in_preparing(config):
        say_once(line)
    run(config, replace)


def _on_every_process(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """`pretrain` and `preflight`: in the processes that torchrun or Slurm started, else in processes of our own."""
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import Pod, World
    from custom_modules.training.signals import stop_requests

    die_with_launcher()
    world, pod = World.from_environment(), Pod.from_environment()
    if pod is not None or not world.is_launched:
        code = _launch(options, arguments, pod)
        if code is not None:
            return code
    # From the first moment on: Slurm may ask for a stop while torch is still being imported.
    with stop_requests() as stop:
        return _in_this_process(options, world.size, stop)


def _launch(options: argparse.Namespace, arguments: Sequence[str], pod: Pod | None) -> int | None:
    """Run the command in one process a device and return the exit code; None where this process is all it takes."""
    from custom_modules.config.load import load_config
    from custom_modules.data.dali import require_loader
    from custom_modules.data.manifest import load_manifest
    from custom_modules.killed import name_signal
    from custom_modules.objective import check_objective
    from custom_modules.platform import cpu_threads
    from custom_modules.platform.launch import check_pod, check_single_node, launch, may_fork

    config = load_config(options.config_name, options.overrides, options.config_dir)
    if config.trainer.world_size == 1 and pod is None:
        return None
    if pod is not None:
        check_pod(pod, config.trainer.devices, config.trainer.num_nodes)
    else:
        check_single_node(config.trainer.num_nodes)
    threads = cpu_threads(config)
    # For forked processes too: OpenMP and numpy read it once, when they are loaded.
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    require_loader(config)
    check_objective(config)
    if options.command == "pretrain":
        load_manifest(config)

    def import_once() -> Callable[[], int]:
        from custom_modules.platform.environment import import_megatron_for

        import_megatron_for(config)
        import custom_modules.training.pretrain  # noqa: F401

        return partial(main, arguments)

    def say_killed(rank: int, number: int) -> None:
        from custom_modules.run_folder.ended import where_it_stands

        who = f"process {rank} of {config.trainer.devices} was ended by {name_signal(number)}"
        print(f"danube: {who}; {where_it_stands(config.run_dir)}", file=sys.stderr)

    fork = import_once if may_fork(config.trainer.accelerator) else None
    return launch(config.trainer.devices, arguments, threads, fork, say_killed, pod)


def _teach(options: argparse.Namespace, arguments: Sequence[str]) -> int:
    """In the processes that torchrun or Slurm started, else in one process a device of our own."""
    from custom_modules.config.load import load_config
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.training.signals import stop_requests
    from data_prep.teach.command import TeachOptions, teach

    die_with_launcher()
    words = [word for word in options.overrides if not is_override(word)]
    overrides = [word for word in options.overrides if is_override(word)]
    if len(words) > 1:
        raise UserError(f"{words[1]}: neither KEY=VALUE nor the one MODEL, {words[0]}; see danube teach --help")
    options.model = Path(words[0]) if words else None
    config = load_config(options.config_name, overrides, options.config_dir)
    names = [field.name for field in fields(TeachOptions)]
    chosen = TeachOptions(**{name: getattr(options, name) for name in names})
    with stop_requests() as stop:
        return teach(config, chosen, arguments, stop)


def _in_this_process(options: argparse.Namespace, processes: int, stop: StopRequest) -> int:
    from custom_modules.config.load import load_config

    config = load_config(options.config_name, options.overrides, options.config_dir)

    def run() -> int:
        if options.command == "preflight":
            from custom_modules.cluster.preflight import preflight

            preflight(config)
        else:
            from custom_modules.platform.environment import import_megatron_for

            import_megatron_for(config)
            from custom_modules.training.pretrain import pretrain

            pretrain(config, stop)
        return 0

    return _traced(run, processes)


def _traced(run: Callable[[], int], processes: int) -> int:
    """Call one process's share of the work; what nobody foresaw is printed as a traceback and is exit code 1."""
    from custom_modules.platform.launch import patience

    try:
        return run()
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


def _bench(options: argparse.Namespace) -> int:
    from custom_modules.bench.command import bench
    from custom_modules.bench.run import Request
    from custom_modules.platform.launch import die_with_launcher
    from custom_modules.platform.world import World

    die_with_launcher()
    stages = tuple(options.stages.split(",")) if options.stages else ()
    words = (options.config_name, options.config_dir, tuple(options.overrides), stages)
    request = Request(*words, options.warmup, options.steps, options.random_tokens)
    world = World.from_environment()
    return _traced(lambda: bench(request, options.variant, options.json, world, options.into), world.size)


def _ended(options: argparse.Namespace) -> int:
    from custom_modules.config.load import load_config
    from custom_modules.killed import name_signal
    from custom_modules.run_folder.ended import where_it_stands

    config = load_config(options.config_name, options.overrides, options.config_dir)
    print(f"a process was ended by {name_signal(options.code - 128)}; {where_it_stands(config.run_dir)}")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from custom_modules.doctor import as_json, examine, render

    config = None
    if options.config_name is not None:
        from custom_modules.config.load import load_config

        config = load_config(options.config_name, options.overrides, options.config_dir)
    elif options.overrides or options.config_dir:
        raise UserError(f"{' '.join(options.overrides) or '--config-dir'}: of which config? give --config-name too")
    diagnosis = examine(config, options.gpu, options.slurm, options.timeout)
    print(as_json(diagnosis) if options.json else "\n".join(render(diagnosis)))
    if diagnosis.stops:
        names = ", ".join(finding.check for finding in diagnosis.stops)
        raise UserError(f"doctor: {diagnosis.run} lacks {names}; what to do is in the table")
    return 0


def _check_data(options: argparse.Namespace) -> int:
    from custom_modules.data.check import check_data

    problems = 0
    for problem in check_data(options.directory, options.quick, options.run, options.vocab_size, options.eos_id):
        print(problem)
        problems += 1
    if problems:
        raise UserError(f"{options.directory}: {problems} problem(s), listed above")
    print(f"{options.directory}: no problem found" + (" in the blocks that were read" if options.quick else ""))
    return 0


def _train_quality(options: argparse.Namespace) -> int:
    from data_prep.quality.train import train_quality

    wrong = [word for word in options.overrides if not is_override(word)]
    if wrong:
        raise UserError(f"{wrong[0]}: not KEY=VALUE; see danube train-quality --help")
    given = dict(word.split("=", 1) for word in options.overrides)
    report = train_quality(options.kind, options.output, options.good, options.raw, options.labelled, given)
    print(report.as_json() if options.json else report.as_text())
    return 0


def _prune_tokenizer(options: argparse.Namespace) -> int:
    from data_prep.vocabulary.prune_tokenizer import PruneOptions, prune_tokenizer

    words = (options.sha256, options.any, options.text_key, options.on_damaged_file, options.workers)
    report = prune_tokenizer(
        options.source, options.output, PruneOptions(options.vocab_size, tuple(options.on), *words)
    )
    if report is None:
        print(options.output)
    else:
        print(report.as_json() if options.json else report.as_text())
    return 0


def _remap_tokenizer(options: argparse.Namespace) -> int:
    from custom_modules.platform.megatron import quiet_megatron

    quiet_megatron()
    from custom_modules.config.load import load_config
    from custom_modules.conversion import remap_tokenizer

    if options.config_name is None and options.overrides:
        raise UserError(f"{options.overrides[0]}: give --config-name too, the new run's; without it the config is kept")
    named = options.config_name
    config = load_config(named, options.overrides, options.config_dir) if named else None
    carry = options.optimizer == "carry"
    print(remap_tokenizer(options.source, options.output, options.to, options.old, config, carry, options.seed))
    return 0


@contextmanager
def _clearing_away() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM end the command as exceptions that clear away what was written so far.

    Where one meets a library in its own clean-up, another error may take its place: after a stop it is the stop again.
    """
    stops: list[BaseException] = []

    def stop(number: int, frame: FrameType | None) -> None:
        stops.append(KeyboardInterrupt() if number == signal.SIGINT else SystemExit(128 + number))
        raise stops[-1]

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    try:
        yield
    except Exception as error:
        if stops:
            raise stops[0] from error
        raise


def _sample(options: argparse.Namespace) -> int:
    given = [name for name in ("source", "compare", "marks") if getattr(options, name)]
    if len(given) != 1:
        raise UserError("sample: give one of an export's folder, --compare RUN_OR_EXPORT... and --marks FILE")
    if options.marks:
        from custom_modules.comparison import tally

        for line in tally(options.marks, options.of or options.marks.parent):
            print(line)
    elif options.compare:
        from custom_modules.comparison import compare
        from custom_modules.platform.megatron import quiet_megatron

        if options.prompts is None:
            raise UserError("sample --compare: on which prompts? give --prompts FILE")
        quiet_megatron()
        words = (options.output, options.max_new_tokens, options.seed, options.blind, options.overwrite)
        with _clearing_away():
            print(compare(options.compare, options.prompts, *words))
    else:
        from custom_modules.conversion.sample import sample

        print(sample(options.source, options.prompt, options.max_new_tokens, options.seed))
    return 0


def _convert(options: argparse.Namespace) -> int:
    # Tensors in huge pages: each is allocated anew, and small pages would take longer to get than to fill.
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    with _clearing_away():
        return _convert_weights(options)


def _convert_weights(options: argparse.Namespace) -> int:
    from custom_modules.platform.megatron import import_megatron, quiet_megatron

    quiet_megatron()
    if options.direction == "from-hf":
        from custom_modules.config.load import load_config
        from custom_modules.conversion import from_hf

        config = load_config(options.config_name, options.overrides, options.config_dir)
        print(from_hf(options.source, options.output, config))
        return 0
    if options.direction == "to-gguf":
        from custom_modules.conversion import to_gguf

        to_gguf(options.source, options.output, options.dtype, options.overwrite)
        print(options.output)
        return 0
    from custom_modules.conversion import to_hf, verify

    if options.verify_text and not options.verify_text.is_file():
        raise UserError(f"--verify-text {options.verify_text}: no such file")
    check = None
    if options.verify or options.verify_text:
        import_megatron("cpu")
        text = options.verify_text.read_text() if options.verify_text else None
        check = partial(verify, text=text, data_dir=options.data_dir)
    to_hf(options.source, options.output, options.dtype, options.overwrite, check=check)
    print(options.output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
