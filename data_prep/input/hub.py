"""Files of data sets on a Hugging Face hub, ``hf://datasets/ORG/NAME[@REVISION][/FILE]``, into its cache.

The library's environment variables hold: HF_ENDPOINT for another hub, HF_HOME for the cache, HF_TOKEN, HF_HUB_OFFLINE.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from custom_modules.errors import UserError
from custom_modules.hub import patiently, quieten_hub
from data_prep.input.formats import SUFFIXES, format_of

PREFIX = "hf://"
_FORM = "hf://datasets/ORG/NAME, or hf://datasets/ORG/NAME/FILE"
_ADDRESS = re.compile(
    r"hf://datasets/(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[^/@]+))?(?:/(?P<file>[^/].*?))?/?", re.ASCII
)


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
    quieten_hub()
    from huggingface_hub import HfApi, hf_hub_download

    repo, revision, place = match["repo"], match["revision"], match["file"]
    where = f"{key}={address}"
    info = patiently(where, lambda: HfApi().dataset_info(repo, revision=revision))
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
            patiently(where, lambda name=name: hf_hub_download(repo, name, repo_type="dataset", revision=info.sha))
        )
    return HubSet(str(info.sha), files)
