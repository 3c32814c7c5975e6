"""FastChat's ``judge_prompts.jsonl``: what a judge is asked, for one turn and for two, with a reference or without."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from custom_modules.errors import UserError
from custom_modules.json_lines import read_json_lines
from custom_modules.mt_bench.questions import Question

PROMPTS = "judge_prompts.jsonl"
_NAMES = {
    (False, 1): "single-v1",
    (True, 1): "single-math-v1",
    (False, 2): "single-v1-multi-turn",
    (True, 2): "single-math-v1-multi-turn",
}
"""By whether there is a reference, and by turn."""
_OUTPUT = "[[rating]]"


@dataclass(frozen=True)
class JudgePrompt:
    """A prompt of the file.

    Attributes:
        name: such as ``single-v1``.
        system: the system message.
        template: the user's, with fields in braces.
    """

    name: str
    system: str
    template: str


@dataclass(frozen=True)
class Asked:
    """What a judge is asked about an answer."""

    prompt_name: str
    system: str
    user: str


class JudgePrompts:
    """The four prompts that single answers are graded with.

    Args:
        bench: the benchmark's folder; the file is in it, or beside it, as FastChat has it.

    Raises:
        UserError: there is no such file, or it lacks one of the four, or one is of another form.
    """

    def __init__(self, bench: Path) -> None:
        places = (bench / PROMPTS, bench.resolve().parent / PROMPTS)
        path = next((place for place in places if place.is_file()), None)
        if path is None:
            raise UserError(
                f"--bench {bench}: no {PROMPTS} in it or beside it; put FastChat's fastchat/llm_judge/data/{PROMPTS} "
                "there"
            )
        self.path = path
        found = {record.get("name"): record for record in read_json_lines(path)}
        self._prompts = {kind: _prompt(path, name, found.get(name)) for kind, name in _NAMES.items()}

    @property
    def sha256(self) -> str:
        """The hash of the four prompts."""
        plain = [[prompt.name, prompt.system, prompt.template] for prompt in self._prompts.values()]
        return hashlib.sha256(json.dumps(plain).encode()).hexdigest()

    def ask(self, question: Question, turn: int, answers: tuple[str, str], references: tuple[str, str] | None) -> Asked:
        """Fill in the prompt about the answer of a turn; that of the second shows the first one, too.

        Args:
            turn: 1 or 2.
            answers: the model's, of both turns.
            references: of both turns, for a question that needs them.

        Raises:
            UserError: the template has a field that there is nothing for.
        """
        prompt = self._prompts[question.needs_reference, turn]
        fields = {"question": question.turns[0], "answer": answers[0]}
        for number in (1, 2):
            fields[f"question_{number}"], fields[f"answer_{number}"] = question.turns[number - 1], answers[number - 1]
            if references:
                fields[f"ref_answer_{number}"] = references[number - 1]
        try:
            user = prompt.template.format(**fields)
        except (LookupError, ValueError, AttributeError) as error:
            raise UserError(
                f"{self.path}: the prompt_template of {prompt.name} cannot be filled in ({error!r}); its fields are "
                f"{', '.join(f'{{{name}}}' for name in fields)}"
            ) from None
        return Asked(prompt.name, prompt.system, user)


def _prompt(path: Path, name: str, record: Mapping[str, Any] | None) -> JudgePrompt:
    if record is None:
        raise UserError(f"{path}: no prompt called {name}; take FastChat's file as it is")
    system, template = record.get("system_prompt"), record.get("prompt_template")
    if not isinstance(system, str) or not isinstance(template, str):
        raise UserError(f"{path}: {name} has no system_prompt and prompt_template; take FastChat's file as it is")
    if record.get("output_format") != _OUTPUT:
        raise UserError(
            f"{path}: output_format={record.get('output_format')!r} of {name} is not {_OUTPUT!r}, the only one that is "
            "read here"
        )
    return JudgePrompt(name, system, template)
