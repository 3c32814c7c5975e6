"""A process that does to hard texts what a corpus goes through, and says what it does next: who waits can end it.

Its argument is a JSON file: ``steps``, options by name; ``tokenizers``, pairs of library and path; ``work``, a folder
that is not there. It reads names of hard texts from its standard input, a line each.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.hard_texts import hard_texts
from benchmarks.one_text import Call, step_calls, tokenizer_calls
from data_prep.tokenize.train_tokenizer import train_tokenizer
from tests.support.tokenizers import ENGLISH

SIZE = 200_000
"""Characters."""
DONE = "done"


def main(options: dict[str, Any]) -> None:
    calls: dict[str, Call] = step_calls(options["steps"], Path(options["work"]))
    for library, path in options["tokenizers"]:
        calls |= {f"{path}, {name}": call for name, call in tokenizer_calls(library, Path(path)).items()}
    calls["the training of a tokenizer"] = lambda text: train_tokenizer([*ENGLISH, text], 600)
    texts = hard_texts(SIZE)
    print("ready", flush=True)
    for line in sys.stdin:
        for name, call in calls.items():
            print(name, flush=True)
            call(texts[line.strip()])
        print(DONE, flush=True)


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text()))
