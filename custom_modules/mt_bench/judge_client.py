"""A judge behind an OpenAI-compatible ``/chat/completions``, asked with the standard library alone."""

from __future__ import annotations

import http.client
import json
import random
import threading
import time
import urllib.request
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from custom_modules.errors import EXIT_SAVED, UserError
from custom_modules.mt_bench.http_failure import (
    LastingFailure,
    PassingFailure,
    failure_of,
    one_line,
    said_in,
)
from custom_modules.mt_bench.patience import Patience
from custom_modules.text import say

TEMPERATURE = 0
MAX_TOKENS = 2_048
"""Of a judgment, as FastChat has it."""
_ENDPOINT = "/chat/completions"
_LONGEST_WAIT = 60.0
_MOST_BYTES = 1 << 24
_READ_AT_ONCE = 1 << 16
_Json = Mapping[str, Any]


class JudgeAwayError(UserError):
    """No answer from a judge for as long as the user has patience: the same command goes on later."""

    exit_code = EXIT_SAVED


class StoppedAsking(Exception):
    """Another thread has met the end: this one asks no more."""


class JudgeClient:
    """One model of an API. Threads may ask at the same time.

    Args:
        address: such as ``http://localhost:8000/v1``.
        model: what the API calls it.
        key: sent as a bearer token, and shown and written nowhere; None: none is sent.
        stop: set by whoever wants no more requests.

    Raises:
        UserError: the address is none of http or https, or has a password or a query in it.
    """

    def __init__(
        self, address: str, model: str, key: str | None, patience: Patience, stop: threading.Event | None = None
    ) -> None:
        self.address, self.model, self._patience = _checked(address), model, patience
        self.stop = stop or threading.Event()
        self._key = key
        self._headers = {"Content-Type": "application/json", "User-Agent": "danube"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._open = urllib.request.build_opener(_NoRedirect).open

    def ask(self, messages: Sequence[Mapping[str, str]], about: str) -> str:
        """Return the judge's answer to a conversation, asked for until it comes.

        Args:
            about: what it is asked about, for messages.

        Raises:
            UserError: it refuses the request, in a way that no other try can mend.
            JudgeAwayError: it has not answered for too long.
            StoppedAsking: `stop` was set.
        """
        body = json.dumps(
            {"model": self.model, "messages": messages, "temperature": TEMPERATURE, "max_tokens": MAX_TOKENS}
        ).encode()
        begun, wait = time.monotonic(), self._patience.first_wait
        while not self.stop.is_set():
            try:
                return self._request(body)
            except LastingFailure as failure:
                raise UserError(
                    f"--judge {self.address}: {self._without_key(str(failure))}, asked about {about}; put that right, "
                    "and the same command goes on"
                ) from None
            except PassingFailure as failure:
                # At random, so that threads that failed together do not come again together.
                pause = wait * random.uniform(0.5, 1.0) if failure.wait is None else failure.wait
                self._check_patience(failure, pause, time.monotonic() - begun)
                say(f"judge, {about}: {self._without_key(str(failure))}; asked again in {pause:,.1f} s")
                if self.stop.wait(pause):
                    break
                wait = min(2 * wait, _LONGEST_WAIT)
        raise StoppedAsking

    def _check_patience(self, failure: PassingFailure, pause: float, waited: float) -> None:
        if waited + pause <= self._patience.limit:
            return
        said = self._without_key(str(failure))
        asked = "" if failure.wait is None else f", and it asks to wait {failure.wait:,.0f} s"
        raise JudgeAwayError(
            f"--judge {self.address}: no answer after {waited:,.0f} s ({said}{asked}); --patience is "
            f"{self._patience.limit:,.0f} s. Every answer and judgment so far is kept, and the same command goes on"
        )

    def _request(self, body: bytes) -> str:
        """Ask once.

        Raises:
            PassingFailure, LastingFailure: there is no answer.
        """
        request = urllib.request.Request(self.address + _ENDPOINT, body, self._headers, method="POST")
        try:
            with self._open(request, timeout=self._patience.timeout) as response:
                content = self._read(response)
        except (OSError, http.client.HTTPException) as error:
            raise failure_of(error) from error
        return _content_of(content)

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        """Read an answer's body, within the time of a request though it comes in drops."""
        end = time.monotonic() + self._patience.timeout
        content = b""
        while piece := response.read1(_READ_AT_ONCE):
            content += piece
            if time.monotonic() > end:
                raise TimeoutError
            if len(content) > _MOST_BYTES:
                raise PassingFailure(f"its answer has more than {_MOST_BYTES:,} bytes")
        if response.length:
            raise http.client.IncompleteRead(content, response.length)
        return content

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "[the key]") if self._key else text


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirected POST would come as a GET, and the key would go to another server with it."""

    def redirect_request(self, *arguments: Any) -> None:
        return None


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        is_plain = address.isascii() and address.isprintable() and " " not in address
        is_address = is_plain and parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_address = False
    if not is_address:
        raise UserError(f"--judge {address}: no address of an API; give one such as http://localhost:8000/v1")
    if parts.username or parts.password or parts.query or parts.fragment:
        raise UserError(
            f"--judge {parts.scheme}://{parts.hostname}{parts.path}: an address without user, password or query is "
            "needed, as it is shown and written down; the key goes into an environment variable"
        )
    return address.rstrip("/").removesuffix(_ENDPOINT)


def _content_of(content: bytes) -> str:
    """Return the message in the body of an answer; one without a text is an empty judgment.

    Raises:
        PassingFailure: it is no answer of this kind of API.
    """
    try:
        answer: _Json = json.loads(content)
    except (ValueError, RecursionError):
        raise PassingFailure(f"its answer is not JSON ({one_line(content[:100].decode(errors='replace'))!r})") from None
    try:
        found = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        found = answer
    if found is not None and not isinstance(found, str):
        said = said_in(answer)
        raise PassingFailure(f"its answer has no message{f': {one_line(str(said))}' if said else ''}")
    return found or ""


def read_key(variable: str, environment: Mapping[str, str], is_needed: bool) -> str | None:
    """Return the API's key from the environment.

    Args:
        variable: its name.
        is_needed: whether the user has named the variable.

    Returns:
        None where the variable is not set, and need not be.

    Raises:
        UserError: it has to be set and is not, or has something in it that no key has; it is not shown.
    """
    key = environment.get(variable, "").strip()
    if not key and is_needed:
        raise UserError(f"--judge-key-env {variable}: not set in the environment; export it, or leave the option out")
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(f"{variable}: no key of an API: it has blanks or other than ASCII letters; set it anew")
    return key or None
