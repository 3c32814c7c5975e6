"""``python -m data_prep.rehearsal.mt_bench FOLDER``: a small MT-Bench of our own, in the form of FastChat's files.

FOLDER gets ``question.jsonl`` with all eight categories, ``reference_answer/gpt-4.jsonl`` and ``judge_prompts.jsonl``.
Its questions are of the kinds that a rehearsed chat model has been trained on, sums and names of Python's library; it
measures nothing else, and its figures are none of MT-Bench's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from custom_modules.files import whole_files
from custom_modules.standard_streams import finished

_FIRST_ID = 81
"""FastChat's."""


class _Conversation(NamedTuple):
    """A question of two turns, with the reference answers of those categories that are judged by one."""

    category: str
    turns: tuple[str, str]
    references: tuple[str, str] | None = None


_CONVERSATIONS = (
    _Conversation("writing", ("What does json.dumps do?", "What does json.loads do?")),
    _Conversation("roleplay", ("What does shutil.copy do?", "What does shutil.move do?")),
    _Conversation(
        "reasoning",
        ("What is 7 plus 12?", "What is 19 plus 2 plus 3?"),
        ("7 + 12 = 19. The answer is: 19", "19 + 2 + 3 = 24. The answer is: 24"),
    ),
    _Conversation(
        "math",
        ("What is 12 plus 30?", "What is 42 plus 5?"),
        ("12 + 30 = 42. The answer is: 42", "42 + 5 = 47. The answer is: 47"),
    ),
    _Conversation(
        "math",
        ("What is 21 plus 21?", "What is 42 plus 42?"),
        ("21 + 21 = 42. The answer is: 42", "42 + 42 = 84. The answer is: 84"),
    ),
    _Conversation(
        "coding",
        ("What does bisect.bisect_left do?", "What does heapq.heapify do?"),
        ("Find where an item goes in a sorted list.", "Turn a list into a heap."),
    ),
    _Conversation("extraction", ("What does re.findall do?", "What does re.split do?")),
    _Conversation("stem", ("What does statistics.mean do?", "What does statistics.median do?")),
    _Conversation("humanities", ("What does textwrap.fill do?", "What does string.capwords do?")),
)

_SYSTEM = "You compare texts word by word."
_RULE = "Rate the answer from 1 to 10, and write the rating in two pairs of brackets, as in [[3]]."


def _prompts() -> list[dict[str, str]]:
    """Return the four prompts; in those of two turns the last texts between tags are the second turn's."""
    templates = {
        "single-v1": _tagged(("question", "question"), ("answer", "answer")),
        "single-math-v1": _tagged(("question", "question"), ("reference", "ref_answer_1"), ("answer", "answer")),
        "single-v1-multi-turn": _tagged(
            *((tag, f"{tag}_{turn}") for turn in (1, 2) for tag in ("question", "answer")),
        ),
        "single-math-v1-multi-turn": _tagged(
            *(
                (tag, f"{field}_{turn}")
                for turn in (1, 2)
                for tag, field in (("question", "question"), ("reference", "ref_answer"), ("answer", "answer"))
            ),
        ),
    }
    return [
        {
            "name": name,
            "type": "single",
            "system_prompt": _SYSTEM,
            "prompt_template": f"{_RULE}\n\n{template}",
            "description": "of the rehearsal",
            "category": "math" if "math" in name else "general",
            "output_format": "[[rating]]",
        }
        for name, template in templates.items()
    ]


def _tagged(*fields: tuple[str, str]) -> str:
    return "\n".join(f"<{tag}>\n{{{field}}}\n</{tag}>" for tag, field in fields)


def files() -> dict[str, list[dict[str, Any]]]:
    """Return the records of each file, by its path in the folder."""
    numbered = list(enumerate(_CONVERSATIONS, start=_FIRST_ID))
    return {
        "question.jsonl": [
            {"question_id": number, "category": one.category, "turns": list(one.turns)} for number, one in numbered
        ],
        "reference_answer/gpt-4.jsonl": [
            {
                "question_id": number,
                "answer_id": f"reference-{number}",
                "model_id": "gpt-4",
                "choices": [{"index": 0, "turns": list(one.references)}],
            }
            for number, one in numbered
            if one.references
        ],
        "judge_prompts.jsonl": _prompts(),
    }


def _lines(records: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def main(arguments: Sequence[str]) -> int:
    """Write the files; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.rehearsal.mt_bench", description=__doc__)
    parser.add_argument("folder", type=Path, help="the folder to write, for danube mt-bench --bench")
    given = parser.parse_args(arguments)
    return finished(lambda: whole_files({given.folder / name: _lines(records) for name, records in files().items()}))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
