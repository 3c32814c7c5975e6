"""The results as files: the table, and all that is in it for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from custom_modules.files import whole_files
from custom_modules.mt_bench.scores import Scores

RESULT, TABLE = "result.json", "table.txt"


def write_results(output: Path, lines: Sequence[str], scores: Scores, more: Mapping[str, Any]) -> None:
    """Write ``table.txt`` and ``result.json``, in place of those of an earlier judgment.

    Args:
        lines: of the table.
        more: what else the latter is to say, such as the models' names.

    Raises:
        UserError: they cannot be written.
    """
    content = {
        **more,
        "categories": list(scores.categories),
        **{
            f"turn_{turn}": {
                **{category: mean.to_json() for category, mean in scores.by_category[turn].items()},
                "average": mean_of_turn.to_json(),
            }
            for turn, mean_of_turn in scores.by_turn.items()
        },
        "both_turns": scores.both_turns.to_json(),
        "unrated": [{"question_id": number, "turn": turn} for number, turn in scores.unrated],
    }
    whole_files(
        {
            output / RESULT: json.dumps(content, indent=1, ensure_ascii=False).encode() + b"\n",
            output / TABLE: "".join(f"{line}\n" for line in lines).encode(),
        }
    )
