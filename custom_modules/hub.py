"""Asking a Hugging Face hub: again where it or the network fails, and in one line where another try changes nothing.

The library's environment variables hold: HF_ENDPOINT for another hub, HF_HOME for the cache, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

from custom_modules.errors import PassingError, UserError
from custom_modules.files import explained

_TRIES = 5
_LONGEST_WAIT = 30.0
_TOO_MANY = 429
_SERVERS_FAULT = 500
Result = TypeVar("Result")


def quieten_hub() -> None:
    """Have the hub's library say nothing, but for bars on a terminal; to be called before its first use."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()


def patiently(where: str, ask: Callable[..., Result]) -> Result:
    """Ask until there is an answer; a few times where the hub or the network fails.

    Args:
        where: what is asked for, as a message begins.

    Raises:
        UserError: no such data set, revision or file, no right to it, or the disk refuses.
        PassingError: the hub or the network fails, again and again.
    """
    wait = 1.0
    for left in reversed(range(_TRIES)):
        try:
            return ask()
        except Exception as error:
            _refuse(where, error)
            if not _may_pass(error):
                with explained(None):
                    raise
            if not left:
                raise PassingError(
                    f"{where}: {_said(error)}; try again later: what is there already is kept"
                ) from error
            time.sleep(min(_asked_to_wait(error) or wait, _LONGEST_WAIT))
            wait *= 2
    raise AssertionError


def _refuse(where: str, error: BaseException) -> None:
    """Raise a `UserError` for what another try would not change."""
    from huggingface_hub import constants, errors

    hub = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        raise UserError(
            f"{where}: {hub} gives it only to who accepted its terms; do so there, and set HF_TOKEN"
        ) from None
    if isinstance(error, errors.RepositoryNotFoundError):
        raise UserError(f"{where}: {hub} has no such data set, or shows it only with an HF_TOKEN; correct it") from None
    if isinstance(error, errors.RevisionNotFoundError):
        raise UserError(f"{where}: the data set has no such revision; give another") from None
    if isinstance(error, errors.RemoteEntryNotFoundError):
        raise UserError(f"{where}: {hub} lists a file that it does not have; try another revision") from None
    if isinstance(error, errors.OfflineModeIsEnabled):
        raise UserError(f"{where}: not in the cache, and HF_HUB_OFFLINE forbids to ask the hub; unset it") from None


def _may_pass(error: BaseException) -> bool:
    from huggingface_hub import errors

    status = _status(error)
    if status is not None:
        return status == _TOO_MANY or status >= _SERVERS_FAULT
    if isinstance(error, errors.LocalEntryNotFoundError):
        return error.__cause__ is None or _may_pass(error.__cause__)
    return _is_of_network(error) or "Consistency check failed" in str(error)


def _is_of_network(error: BaseException) -> bool:
    """Tell whether the network's client says that something failed on the way."""
    return any(
        kind.__module__.startswith("httpx") and kind.__name__ == "TransportError" for kind in type(error).__mro__
    )


def _status(error: BaseException) -> int | None:
    response: Any = getattr(error, "response", None)
    return getattr(response, "status_code", None)


def _asked_to_wait(error: BaseException) -> float | None:
    """Seconds of a Retry-After header, if there is one in seconds."""
    response: Any = getattr(error, "response", None) or getattr(error.__cause__, "response", None)
    text = response.headers.get("retry-after", "") if response is not None else ""
    return float(text) if text.isdigit() else None


def _said(error: BaseException) -> str:
    status = _status(error) or _status(error.__cause__ or error)
    if status is not None:
        return f"the hub answers {status}" + (" (too many requests)" if status == _TOO_MANY else "")
    cause = error.__cause__ or error
    return f"the hub cannot be reached, or breaks off ({' '.join(str(cause).split())[:200] or type(cause).__name__})"
