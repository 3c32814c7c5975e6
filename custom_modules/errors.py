"""The errors a user can cause, and the exit codes that scripts can tell apart."""

EXIT_USER_ERROR = 2
"""Bad configuration or input: nothing will change by trying again."""

EXIT_DIVERGED = 3
"""The loss or the gradient norm was not finite; the last checkpoint stands."""

EXIT_SAVED = 75
"""SIGTERM, SIGUSR1 or SIGINT: the step was finished and saved; the same command goes on from there."""


class UserError(ValueError):
    """A mistake of the user's: one line that names the key or file, its value, and what to do."""

    exit_code = EXIT_USER_ERROR


class OwnShareError(UserError):
    """Found by one process in its share of the work: the others do not know, so this one has to say it."""


class DivergedError(UserError):
    """A loss or gradient norm that is not finite."""

    exit_code = EXIT_DIVERGED


class StoppedBySignal(Exception):
    """Raised by the loop once a requested stop has been saved.

    Args:
        signal_name: for the message, such as ``SIGTERM``.
    """

    exit_code = EXIT_SAVED
