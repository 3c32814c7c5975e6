"""The `danube` command: a command line in, an exit code out. What each subcommand does is in `commands`."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

from custom_modules.arguments import parser
from custom_modules.commands.options import is_override
from custom_modules.commands.table import COMMANDS
from custom_modules.errors import EXIT_SAVED, EXIT_USER_ERROR, OwnShareError, StoppedBySignal, UserError, exit_code
from custom_modules.files import refused
from custom_modules.standard_streams import complain, open_closed_streams
from custom_modules.version import PYTHONS


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
    options.arguments, options.again = arguments, partial(main, arguments)
    try:
        return COMMANDS[options.command].run(options)
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
    from custom_modules.platform.launch import LAUNCHER, patience
    from custom_modules.platform.world import World

    rank = 0
    if COMMANDS[command].in_processes:
        with suppress(UserError):
            rank = World.from_environment().rank
    if rank == 0:
        complain(message)
    elif LAUNCHER not in os.environ:
        # srun and torchrun kill all processes when the first one fails: that has to be the one that says why.
        time.sleep(patience())


if __name__ == "__main__":
    sys.exit(main())
