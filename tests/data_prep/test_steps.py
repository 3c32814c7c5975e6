"""Steps in `danube prepare`: what they take out is kept with its reason, and what they read is part of the identity."""

from __future__ import annotations

import json
import pydoc_data.topics
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import orjson
import pytest

from custom_modules.data.manifest import read_manifest
from custom_modules.errors import UserError
from data_prep.input.documents import Document, Removal, apply_steps
from data_prep.prepare import run
from data_prep.steps.filter_shard import read_lines

QUESTION = "which of these planets takes the longest time to travel around its sun once and why does it take so long"


@pytest.fixture
def text(tmp_path: Path, write_jsonl: Callable[..., Path]) -> Path:
    """Ordinary English, one document that holds a benchmark's question, and one of symbols."""
    ordinary = [text for _, text in sorted(pydoc_data.topics.topics.items())][:40]
    planted = f"{ordinary[0]}\n\nA quiz: {QUESTION.upper()}?\n\n{ordinary[1]}"
    folder = tmp_path / "text"
    folder.mkdir()
    return write_jsonl(folder / "a.jsonl", [*ordinary, planted, "# # # ... # # " * 200])


@pytest.fixture
def benchmark(tmp_path: Path) -> Path:
    path = tmp_path / "planets.jsonl"
    path.write_text(
        json.dumps({"question": f"{QUESTION}?", "choices": ["Neptune", "Mars"], "answer": "Neptune"}) + "\n"
    )
    return path


def removed(directory: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for path in sorted((directory / "removed").iterdir()) for line in read_lines(path)]


def test_what_is_removed_is_kept_with_its_reason(
    text: Path, benchmark: Path, make_config: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with benchmark.open("a") as file:
        file.write(json.dumps({"question": "Which one?"}) + "\n")
    gopher = "data.steps.gopher_quality={words: regex, min_doc_words: 10, max_non_alpha_words_ratio: 0.4}"
    steps = [f"data.steps.decontaminate.files=[{benchmark}]", gopher]
    config = make_config(text, *steps)
    run(config)
    aside = {document["step"]: document for document in removed(Path(config.data.dir)) if document["line"] > 40}
    assert aside["decontaminate"]["reason"] == "overlap with planets"
    assert QUESTION.upper() in aside["decontaminate"]["text"]
    assert str(len(QUESTION.split())) in aside["decontaminate"]["detail"]
    assert (aside["decontaminate"]["source"], aside["decontaminate"]["line"]) == (str(text), 41)
    assert aside["gopher_quality"]["line"] == 42
    described = read_manifest(Path(config.data.dir))
    assert described is not None
    (report,) = described.benchmarks
    assert (report["benchmark"], report["items_hit"], report["documents_removed"]) == ("planets", 1, 1)
    assert report["longest_match"] == len(QUESTION.split())
    assert (report["items"], report["items_searched"], report["items_too_short"]) == (2, 1, 1)
    assert "1 of 2 items of planets are searched, 1 cannot be: shorter than 8 words" in capsys.readouterr().err
    assert "| planets | 2 | 1 | 1 | 1 |" in (Path(config.data.dir) / "data_card.md").read_text()
    counted = {step: sum(reasons.values()) for step, reasons in described.removed.items()}
    assert counted == Counter(document["step"] for document in removed(Path(config.data.dir)))


@pytest.mark.slow
def test_addresses_are_read_and_filtered(tmp_path: Path, make_config: Callable[..., Any]) -> None:
    records = [
        {"text": f"document {number} of this corpus", "url": f"https://{host}/{number}"}
        for number in range(40)
        for host in ("good.org", "www.bad.com")
    ]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    config = make_config(tmp_path / "a.jsonl", "data.steps.url={use_integrated_lists: false, extra_domains: [bad.com]}")
    run(config)
    aside = removed(Path(config.data.dir))
    assert len(aside) == 40
    assert {document["reason"] for document in aside} == {"domain"}
    assert all(document["url"].startswith("https://www.bad.com/") for document in aside)


def test_a_step_that_leaves_nothing() -> None:
    class Emptied:
        name = "emptied"
        options: Mapping[str, object] = MappingProxyType({})

        def __call__(self, document: Document) -> Document | Removal:
            return Document(" \n", document.line) if document.line == 2 else document

    outcomes = apply_steps([Document("a", 1), Document("b", 2), Document("c", 3)], [Emptied()])
    assert outcomes == [Document("a", 1), Removal("emptied", "nothing is left of it"), Document("c", 3)]


@pytest.mark.slow
def test_another_benchmark_text_is_another_dataset(
    text: Path, benchmark: Path, make_config: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    config = make_config(text, f"data.steps.decontaminate.files=[{benchmark}]")
    run(config)
    capsys.readouterr()
    run(config)
    assert "is up to date" in capsys.readouterr().err
    benchmark.write_text(json.dumps({"question": "another question that no document here has ever asked of anybody"}))
    run(config)
    assert "is up to date" not in capsys.readouterr().err
    assert removed(Path(config.data.dir)) == []


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ("decontaminate.files=[nowhere.jsonl]", "nowhere.jsonl"),
        ("decontaminate.ngrams=5", "data.steps.decontaminate.ngrams=5: no such option; did you mean ngram?"),
        ("decontaminate={}", "data.steps.decontaminate.files: not set; bring the texts of the benchmarks"),
        ("gopher_quality.min_doc_word=5", "min_doc_words"),
        ("decontaminate.files=/one/path", "data.steps.decontaminate.files=/one/path: must be list of files and"),
        ("decontaminate.files=/one/path", "; put it in brackets: [/one/path]"),
        ("decontaminate={files: [a.jsonl], ngram: abc}", "data.steps.decontaminate.ngram=abc: must be int from 1"),
        ("minhash.num_buckets=0", "data.steps.minhash.num_buckets=0: must be int from 1"),
        ("url.extra_domains=", "data.steps.url.extra_domains=: must be file or list of text or null"),
        ("exact.how=5", "data.steps.exact.how=5: it has no options"),
        ("exact=true", "data.steps.exact=true: give {} for its defaults, {OPTION: VALUE, ...}, or null"),
        ("gopher={}", "data.steps.gopher={}: no such key; did you mean"),
    ],
)
def test_mistakes_are_found_before_anything_is_read(
    step: str, message: str, text: Path, make_config: Callable[..., Any], tmp_path: Path
) -> None:
    with pytest.raises(UserError) as refused:
        run(make_config(text, f"data.steps.{step}"))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "data" / "prepare.work").exists()
