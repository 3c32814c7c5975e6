"""A file of prompts: a YAML list of ``{name, prompt}``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.files import readable


@dataclass(frozen=True)
class Prompt:
    """A text to be continued, and what a page calls it."""

    name: str
    text: str


def read_prompts(path: Path) -> list[Prompt]:
    """Read a file of prompts, in its order.

    Raises:
        UserError: it is missing, no such list, empty, or names two prompts alike.
    """
    import yaml

    with readable(path):
        content = path.read_bytes()
    try:
        plain = yaml.safe_load(content.decode())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--prompts {path}: not YAML ({' '.join(str(error).split())})") from None
    if not isinstance(plain, list) or not plain:
        raise UserError(f"--prompts {path}: not a list of prompts; give one of {{name: ..., prompt: ...}}")
    prompts = [_prompt(path, number, entry) for number, entry in enumerate(plain, start=1)]
    names = [prompt.name for prompt in prompts]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"--prompts {path}: two prompts are called {twice!r}; call one otherwise")
    return prompts


def _prompt(path: Path, number: int, entry: Any) -> Prompt:
    if not isinstance(entry, dict) or set(entry) != {"name", "prompt"} or not all(_is_text(v) for v in entry.values()):
        raise UserError(f"--prompts {path}: its prompt {number} is not {{name: ..., prompt: ...}}, both of them text")
    return Prompt(entry["name"], entry["prompt"])


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())
