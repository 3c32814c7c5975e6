"""The errors that end a command in one line, and the exit codes that scripts can tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from custom_modules.system import errnos

EXIT_USER_ERROR = 2
"""Bad configuration or input: nothing will change by trying again."""

EXIT_DIVERGED = 3
"""The loss or the gradient norm was not finite; the last checkpoint stands."""

EXIT_PASSING = 74
"""The machine failed in a way that passes: a port in use, a file server that does not answer. Try again."""

EXIT_SAVED = 75
"""SIGTERM, SIGUSR1 or SIGINT: the step was finished and saved; the same command goes on from there. So it does where a
judge stays away."""

PASSING = errnos(
    "EIO",
    "ESTALE",
    "EREMOTEIO",
    "ETIMEDOUT",
    "ENOTCONN",
    "ESHUTDOWN",
    "EHOSTDOWN",
    "EHOSTUNREACH",
    "ENETDOWN",
    "ENETUNREACH",
)
"""How a disk or a file server fails that may be well again on the next start, or on another node."""


class UserError(ValueError):
    """A mistake of the user's: one line that names the key or file, its value, and what to do."""

    exit_code = EXIT_USER_ERROR

    def __reduce__(self) -> tuple[Any, ...]:
        """Have the error know in another process, too, how it is to end."""
        return type(self), self.args, {**self.__dict__, "exit_code": exit_code(self)}


class OwnShareError(UserError):
    """Found by one process in its share of the work: the others do not know, so this one has to say it."""


class PassingError(UserError):
    """Nobody's mistake: the same command may go on when it is tried again."""

    exit_code = EXIT_PASSING


class DivergedError(UserError):
    """A loss or gradient norm that is not finite."""

    exit_code = EXIT_DIVERGED


class StoppedBySignal(Exception):
    """Raised by the loop once a requested stop has been saved.

    Args:
        signal_name: for the message, such as ``SIGTERM``.
    """

    exit_code = EXIT_SAVED


def passes(error: BaseException) -> bool:
    """Tell whether a disk or file server that failed is behind an error, however it is worded."""
    return any(isinstance(cause, OSError) and cause.errno in PASSING for cause in _causes(error, set()))


def exit_code(error: UserError) -> int:
    """Return the code that a command ends with."""
    return EXIT_PASSING if error.exit_code == EXIT_USER_ERROR and passes(error) else error.exit_code


def _causes(error: BaseException | None, seen: set[int]) -> Iterator[BaseException]:
    """Give an error and what led to it, those errors among it that torch gathers from the processes of a save."""
    if error is None or id(error) in seen:
        return
    seen.add(id(error))
    yield error
    yield from _causes(error.__cause__, seen)
    yield from _causes(error.__context__, seen)
    for failure, _ in (getattr(error, "failures", None) or {}).values():
        yield from _causes(failure, seen)
