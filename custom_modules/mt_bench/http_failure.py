"""How a request to a judge fails: in a way that may pass, or in one that will not."""

from __future__ import annotations

import http.client
import json
import ssl
import time
import urllib.error
from email.utils import parsedate_to_datetime
from http import HTTPStatus

_PASSING = frozenset(
    (
        HTTPStatus.REQUEST_TIMEOUT,
        HTTPStatus.CONFLICT,
        HTTPStatus.LOCKED,
        HTTPStatus.TOO_EARLY,
        HTTPStatus.TOO_MANY_REQUESTS,
    )
)
"""Those of the statuses below 500 that ask for another try."""
_MOST_WORDS = 200
_MOST_READ = 1 << 16


class PassingFailure(Exception):
    """A request that may succeed when it is tried again.

    Attributes:
        wait: seconds that the server asks to wait; None where it does not say.
    """

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class LastingFailure(Exception):
    """A request that will fail however often it is tried."""


def failure_of(error: Exception) -> PassingFailure | LastingFailure:
    """Tell what became of a request by the exception of urllib, http.client or a socket that it ended with."""
    if isinstance(error, urllib.error.HTTPError):
        return _of_status(error)
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ssl.SSLCertVerificationError):
        return LastingFailure(f"its certificate is not trusted ({reason.verify_message})")
    if isinstance(reason, TimeoutError):
        return PassingFailure("it did not answer in time")
    if isinstance(reason, http.client.IncompleteRead):
        return PassingFailure("it broke off in the middle of its answer")
    words = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return PassingFailure(one_line(words))


def _of_status(error: urllib.error.HTTPError) -> PassingFailure | LastingFailure:
    status = error.code
    said = f"HTTP {status} ({_words(error) or error.reason})"
    if 300 <= status < 400:
        return LastingFailure(f"HTTP {status}: it points to {error.headers.get('Location')}; give that address instead")
    if status >= 500 or status in _PASSING:
        return PassingFailure(said, retry_after(error.headers.get("Retry-After")))
    return LastingFailure(said)


def retry_after(value: str | None) -> float | None:
    """Return the seconds from now that a ``Retry-After`` header asks for: a number of them, or a date.

    Returns:
        None for no header, and for one that is neither.
    """
    if value is None:
        return None
    if value.strip().isascii() and value.strip().isdigit():
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _words(error: urllib.error.HTTPError) -> str:
    """Return what a server says of a failure: the message of its JSON, or the beginning of its text."""
    try:
        content = error.read(_MOST_READ)
    except (OSError, http.client.HTTPException):
        return ""
    text = content.decode(errors="replace")
    try:
        return one_line(str(said_in(json.loads(text)) or text))
    except ValueError:
        return one_line(text)


def said_in(answer: object) -> object:
    """Return the message of an API's error, as OpenAI's and others have it; None where there is none."""
    if not isinstance(answer, dict):
        return None
    error = answer.get("error") or answer
    return error.get("message") or error.get("detail") if isinstance(error, dict) else error


def one_line(text: str) -> str:
    """Return the beginning of a text on one line."""
    words = " ".join(text.split())
    return words if len(words) <= _MOST_WORDS else f"{words[:_MOST_WORDS]}..."
