"""Copies are dropped, once, with their reason; nothing else is, and no document is lost."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from custom_modules.data.manifest import read_manifest
from custom_modules.errors import UserError
from data_prep.across.exact import find_copies
from data_prep.clean.build import build_steps
from data_prep.clean.filter_corpus import filter_corpus
from data_prep.input.documents import DIGEST_BYTES, digest
from data_prep.input.input_files import find_input_files
from data_prep.input.units import split_units
from data_prep.prepare import run
from data_prep.steps.filter_shard import FilterOptions, read_lines
from tests.support.drops import read_drops
from tests.support.pools import Here

ORIGINALS = 300


def corpus(folder: Path) -> tuple[list[str], list[str], list[str]]:
    """Originals, copies in another case and punctuation, and copies with one word changed; written to files."""
    source = random.Random(3)
    words = ["".join(source.choices("abcdefghijklmnop", k=source.randint(2, 8))) for _ in range(2000)]
    originals = [" ".join(source.choices(words, k=source.randint(60, 120))) for _ in range(ORIGINALS)]
    exact = [f"{text.upper()}  !\n" for text in originals[:40]]
    near = [text.replace(text.split()[7], "changed", 1) for text in originals[40:70]]
    texts = [*originals, *exact, *near]
    source.shuffle(texts)
    for number in range(3):
        lines = [orjson.dumps({"text": text}) for text in texts[number::3]]
        (folder / f"{number}.jsonl").write_bytes(b"\n".join(lines))
    return originals, exact, near


def removed(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in sorted((directory / "removed").iterdir()) for line in read_lines(path)]


@pytest.mark.parametrize("shard_bytes", [20_000, 1_000_000])
@pytest.mark.slow
def test_copies_are_dropped_and_kept_aside(shard_bytes: int, make_config: Callable[..., Any], tmp_path: Path) -> None:
    _, exact, near = corpus(tmp_path)
    steps = ["data.steps.exact={}", "data.steps.minhash={}", f"data.shard_bytes={shard_bytes}"]
    config = make_config(tmp_path, *steps)
    run(config)
    directory = Path(config.data.dir)
    described = read_manifest(directory)
    assert described is not None
    assert described.removed == {
        "exact": {"a copy of another document": len(exact)},
        "minhash": {"a near copy of another document": len(near)},
    }
    aside = removed(directory)
    assert Counter(document["step"] for document in aside) == {"exact": len(exact), "minhash": len(near)}
    kept = sum(source["documents"] for source in described.sources)
    assert kept == ORIGINALS
    assert sum(source["read"] for source in described.sources) == kept + len(aside)
    groups = Counter(digest(document["text"]) for document in aside if document["step"] == "exact")
    assert set(groups.values()) == {1}


def test_what_counts_as_the_same() -> None:
    assert digest("Zwölf Boxkämpfer, jagen!") == digest("ZWÖLF  boxkämpfer\njagen")
    assert digest("a b") != digest("ab")
    assert digest("!!!") != digest("???")


def found(files: list[Path], work: Path) -> list[set[int]]:
    into = work / "drops"
    into.mkdir(parents=True)
    counts = [path.stat().st_size // DIGEST_BYTES for path in files]
    count = find_copies(files, counts, work / "exact", Here(), into)
    drops = read_drops(into, len(files))
    assert count == sum(map(len, drops))
    digests = [np.fromfile(path, "S16") for path in files]
    for unit, of_unit in enumerate(drops):
        for index, removal in of_unit:
            kept = re.fullmatch(r"unit (\d+), document (\d+) is the same", removal.detail)
            assert kept is not None
            first = int(kept[1]), int(kept[2])
            assert digests[first[0]][first[1]] == digests[unit][index] and first < (unit, index)
    return [{index for index, _ in of_unit} for of_unit in drops]


def test_exact_copies_equal_a_plain_dictionary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It holds with one file of digests and with several."""
    source = random.Random(1)
    texts = [[str(source.randrange(50)) for _ in range(source.randrange(40))] for _ in range(5)]
    files = []
    for unit, documents in enumerate(texts):
        files.append(tmp_path / str(unit))
        files[-1].write_bytes(b"".join(map(digest, documents)))
        assert files[-1].stat().st_size == DIGEST_BYTES * len(documents)
    seen: set[str] = set()
    expected = []
    for documents in texts:
        expected.append({index for index, text in enumerate(documents) if text in seen or seen.add(text)})  # type: ignore[func-returns-value]
    assert found(files, tmp_path / "whole") == expected
    monkeypatch.setattr("data_prep.across.partitions.RECORDS", 20)
    monkeypatch.setattr("data_prep.across.partitions._BUFFER_BYTES", 500)
    monkeypatch.setattr("data_prep.across.positions._DOCUMENTS_AT_ONCE", 30)
    monkeypatch.setattr("data_prep.across.exact._AT_ONCE", 7)
    assert found(files, tmp_path / "cut") == expected


def test_an_option_that_minhash_does_not_have(make_config: Callable[..., Any], tmp_path: Path) -> None:
    corpus(tmp_path)
    with pytest.raises(UserError, match=r"data.steps.minhash.bands=3: no such option; use n_grams, num_buckets"):
        run(make_config(tmp_path, "data.steps.minhash.bands=3"))


def test_what_an_earlier_run_has_found_is_found_again_and_what_was_cut_short_is_made_again(tmp_path: Path) -> None:
    corpus(tmp_path)
    files = find_input_files({"text": sorted(tmp_path.glob("*.jsonl"))}, tmp_path / "data").files
    units, steps = split_units(files, 20_000), build_steps({"exact": {}})
    options, work = FilterOptions("text", "url", "raise", steps.alone), tmp_path / "work"
    first = filter_corpus(units, options, steps.across, work, Here())
    assert sum(len(list(unit.drops)) for unit in first) == 40
    (folder,) = (work / "drops").iterdir()
    found = folder.stat().st_mtime_ns
    assert filter_corpus(units, options, steps.across, work, Here()) == first
    assert folder.stat().st_mtime_ns == found
    dropped = [list(unit.drops) for unit in first]
    folder.rename(folder.with_name(f".{folder.name}.partial"))
    again = filter_corpus(units, options, steps.across, work, Here())
    assert [unit.key for unit in again] == [unit.key for unit in first]
    assert [list(unit.drops) for unit in again] == dropped
    assert [path.name for path in (work / "drops").iterdir()] == [folder.name]
