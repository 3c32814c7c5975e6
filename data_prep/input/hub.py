"""Files of data sets on a Hugging Face hub, ``hf://datasets/ORG/NAME[@REVISION][/FILE]``, into its cache.

The library's environment variables hold: HF_ENDPOINT for another hub, HF_HOME for the cache, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from custom_modules.errors import PassingError, UserError
from custom_modules.files import explained
from data_prep.input.formats import SUFFIXES, format_of

PREFIX = "hf://"
_FORM = "hf://datasets/ORG/NAME, or hf://datasets/ORG/NAME/FILE"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^/].*?))?/?", re.ASCII
)
_TRIES = 5
_LONGEST_WAIT = 30.0
_TOO_MANY = 429
_SERVERS_FAULT = 500
Result = TypeVar("Result")


class HubSet(NamedTuple):
    """What an address stands for."""

    revision: str
    """The commit, as the hub resolved it."""
    files: dict[str, Path]
    """Where each file lies here, by its path in the data set."""


def is_hub_address(path: str) -> bool:
    """Tell whether a path is to be fetched from a hub."""
    return path.startswith(PREFIX)


def fetch(address: str, key: str, wanted: Callable[[list[str]], list[str]], say: Callable[[str], None]) -> HubSet:
    """Download what an address stands for, but for what the cache has.

    Args:
        key: the config key of the address, for messages.
        wanted: chooses among the paths of files of known formats.
        say: told of each file that is asked for.

    Raises:
        UserError: no such address, data set, revision or file, or no right to it.
        PassingError: the hub or the network fails, again and again.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise UserError(f"{key}={address}: no data set's address; write {_FORM}")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.utils import logging

    logging.set_verbosity_error()
    repo, revision, place = match["repo"], match["revision"], match["file"]
    where = f"{key}={address}"
    info = _patiently(where, lambda: HfApi().dataset_info(repo, revision=revision))
    every = sorted(sibling.rfilename for sibling in info.siblings or ())
    names = [name for name in every if name == place or name.startswith(f"{place}/")] if place else every
    if place and not names:
        raise UserError(f"{where}: no such file in the data set; it has {', '.join(every[:20]) or 'none'}")
    names = names if place in names else wanted([name for name in names if format_of(name)])
    if not names:
        raise UserError(f"{where}: holds no {SUFFIXES} file")
    files = {}
    for name in names:
        say(f"{PREFIX}datasets/{repo}/{name} at {str(info.sha)[:12]}")
        files[name] = Path(
            _patiently(where, lambda name=name: hf_hub_download(repo, name, repo_type="dataset", revision=info.sha))
        )
    return HubSet(str(info.sha), files)


def _patiently(where: str, ask: Callable[..., Result]) -> Result:
    """Ask until there is an answer; a few times where the hub or the network fails."""
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
        raise UserError(f"{where}: the data set has no such revision; correct what is behind the @") from None
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
