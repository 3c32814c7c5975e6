from __future__ import annotations

import bz2
import difflib
import gzip
import html
import json
import lzma
import pickle
import random
import re
import unicodedata
from collections.abc import Callable, Sequence
from html.entities import codepoint2name
from itertools import chain
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from custom_modules.errors import UserError
from data_prep.clean.build import build_steps
from data_prep.input.documents import Document, Removal
from data_prep.steps.benchmark_texts import find_benchmarks, read_benchmark
from data_prep.steps.decontaminate import BenchmarkHits, Decontaminate, benchmark_hits
from data_prep.steps.overlap import split_words

QUESTION = (
    "A farmer near the river keeps seventeen geese, nine ducks and a stubborn old goat. If each goose lays four eggs "
    "a week while every duck lays six, how many eggs are gathered before the goat eats half of them?"
)
ANSWER = (
    "The geese lay 17 * 4 = 68 eggs and the ducks lay 9 * 6 = 54 eggs, so 122 eggs are gathered, and the goat leaves "
    "61 of them to the farmer's astonished wife."
)
SHORT = "Copper turns green because it reacts with moist air."
ORDINARY = list(topics.values())

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def jsonl(*records: Any, name: str = "quiz.jsonl") -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE) for record in records))
        return path

    return jsonl


@pytest.fixture
def quiz(write: Write) -> Decontaminate:
    return Decontaminate(
        [
            write(
                {"question": "What is two and two?", "choices": ["four", "five"], "answer": 0},
                {"question": QUESTION, "answer": ANSWER, "source": {"url": "https://example.org/a/b/c/d/e/f/g/h"}},
                {"question": "Why?", "choices": {"text": ["It does not.", SHORT], "label": ["A", "B"]}},
            )
        ]
    )


def outcome(step: Decontaminate, text: str) -> tuple[str, str] | None:
    document = Document(text, 1)
    result = step(document)
    if isinstance(result, Removal):
        assert result.step == step.name == "decontaminate"
        return result.reason, result.detail
    assert result is document
    return None


def in_the_middle_of(text: str) -> str:
    return f"{ORDINARY[3]}\n\n{text}\n\n{ORDINARY[4]}"


CHANGES = {"as it is": str, "upper case": str.upper, "other punctuation": lambda text: re.sub(r"\W+", "\n*", text)}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("place", [str, in_the_middle_of], ids=["alone", "in the middle"])
@pytest.mark.parametrize(("text", "item"), [(QUESTION, 2), (ANSWER, 2), (SHORT, 3)], ids=["prompt", "answer", "short"])
def test_a_planted_item_is_found(
    quiz: Decontaminate, text: str, item: int, place: Callable[[str], str], change: Callable[[str], str]
) -> None:
    words = len(re.findall(r"\w+", text))
    assert outcome(quiz, place(change(text))) == ("overlap with quiz", f"{words} words in a row of item {item}")


def test_thirteen_words_in_a_row_are_found_and_twelve_are_not(quiz: Decontaminate) -> None:
    words = QUESTION.split()
    assert outcome(quiz, " ".join(words[5:18])) == ("overlap with quiz", "13 words in a row of item 2")
    assert outcome(quiz, " ".join(words[5:17])) is None
    assert outcome(quiz, " ".join([*words[5:12], "indeed", *words[12:19]])) is None
    assert outcome(quiz, SHORT.removesuffix(" air.")) is None


def test_ordinary_text_is_kept(quiz: Decontaminate) -> None:
    assert [outcome(quiz, text) for text in [*ORDINARY, "", "two and two", "https://example.org/a/b/c/d/e/f/g/h"]] == [
        None
    ] * (len(ORDINARY) + 3)


def test_ordinary_text_is_kept_against_a_benchmark_of_other_ordinary_text(write: Write) -> None:
    """The benchmark is sentences, the documents are the same sentences with their words shuffled."""
    source = random.Random(0)
    sentences = [sentence.split() for text in ORDINARY[:40] for sentence in text.split(". ")]
    step = Decontaminate([write(*({"text": " ".join(sentence)} for sentence in sentences))])
    for sentence in sentences:
        source.shuffle(sentence)
    texts = [" ".join(chain.from_iterable(sentences[start : start + 20])) for start in range(0, len(sentences), 20)]
    assert [outcome(step, text) for text in texts] == [None] * len(texts)


def test_texts_below_the_minimum_are_not_looked_for(write: Write) -> None:
    file = write({"question": SHORT})
    assert outcome(Decontaminate([file], min_words=9), SHORT) is not None
    assert outcome(Decontaminate([file], min_words=10), SHORT) is None
    assert outcome(Decontaminate([file], ngram=5), SHORT.removesuffix("air.")) is not None


def harness_line(number: int, arguments: object, **fields: object) -> dict[str, object]:
    """A line as lm-evaluation-harness's ``--log_samples`` writes it."""
    return {
        "doc_id": number,
        "doc": {"question": f"Question {number}? {QUESTION}" if number == 0 else f"Which of the {number} is it?"},
        "target": ANSWER if number == 0 else str(number),
        "arguments": arguments,
        "resps": [["The model said something long and wrong about the weather in the distant hills of the north"]],
        "filtered_resps": [
            "The model said something long and wrong about the weather in the distant hills of the north"
        ],
        "filter": "strict-match",
        **fields,
    }


@pytest.mark.parametrize("nested", [True, False], ids=["dicts", "lists"])
def test_harness_samples_give_docs_targets_and_prompts_but_no_responses(write: Write, nested: bool) -> None:
    prompt = "Here is a riddle that only the prompt has, about a lamp which nobody can find in the dark. Answer:"
    options = {"until": ["this is a rather long stop sequence of the options for generation which is no text"]}
    arguments: object = {"gen_args_0": {"arg_0": prompt, "arg_1": options}} if nested else [[prompt, options]]
    name = "samples_riddles_2024-05-01T10-00-00.123456.jsonl"
    lines = [harness_line(0, arguments), harness_line(1, arguments), harness_line(0, arguments, filter="flexible")]
    step = Decontaminate([write(*lines, name=name)])
    for text, item in ((QUESTION, 1), (ANSWER, 1), (prompt, 1)):
        words = len(split_words(text))
        assert outcome(step, in_the_middle_of(text)) == (
            "overlap with riddles",
            f"{words} words in a row of item {item}",
        )
    assert outcome(step, str(lines[0]["filtered_resps"])) is None
    assert outcome(step, options["until"][0]) is None
    (row,) = benchmark_hits(step, [])
    assert (row.items, row.items_searched) == (2, 2)


def test_an_item_that_is_an_example_in_many_prompts_is_found_and_their_boilerplate_is_not(write: Write) -> None:
    instruction = "The following are questions about a farm and its animals, think step by step before you answer them."
    lines = [
        harness_line(number, [[f"{instruction}\n\n{QUESTION}\n{ANSWER}\n\nWhich of the {number} is it?"]])
        for number in range(30)
    ]
    step = Decontaminate([write(*lines, name="samples_farm.jsonl")])
    assert outcome(step, instruction) is None
    found = outcome(step, in_the_middle_of(QUESTION))
    assert found == ("overlap with farm", f"{len(split_words(QUESTION))} words in a row of item 1")


def test_common_phrases_are_ignored_and_two_runs_of_one_benchmark_do_not_make_them(write: Write) -> None:
    phrase = "Read the passage below with care and choose the one statement that the author would agree with"
    items = [{"question": f"{phrase} in case {number} of the book."} for number in range(11)]
    assert outcome(Decontaminate([write(*items)]), phrase) is None
    assert outcome(Decontaminate([write(*items)], max_items=11), phrase) is not None
    runs = [write({"question": QUESTION}, name=f"run{run}/quiz.jsonl") for run in range(11)]
    detail = f"{len(QUESTION.split())} words in a row of item 1"
    assert outcome(Decontaminate(runs), QUESTION) == ("overlap with run0/quiz", detail)


def test_rows_of_one_to_three_repeated_words_are_no_match(write: Write) -> None:
    step = Decontaminate([write({"text": "[" + "0, " * 40 + "]"}, {"text": "one, two, three, " * 20})])
    assert outcome(step, "0 " * 100) is None
    assert outcome(step, "one two three " * 30) is None


def test_a_text_file_is_read_by_paragraphs(tmp_path: Path) -> None:
    path = tmp_path / "riddles.txt"
    wrapped = ANSWER.replace(" so ", "\nso ")
    path.write_bytes(f"\ufeff\n\n{QUESTION}\n \n\n{wrapped}\n".encode())
    step = Decontaminate([path])
    assert outcome(step, QUESTION) == ("overlap with riddles", f"{len(QUESTION.split())} words in a row of item 3")
    assert outcome(step, ANSWER) == ("overlap with riddles", f"{len(split_words(ANSWER))} words in a row of item 6")


def test_the_item_with_the_longest_run_is_named(write: Write) -> None:
    words = QUESTION.split()
    step = Decontaminate([write({"q": " ".join(words[:20])}, {"q": QUESTION}, {"q": " ".join(words[:36])})])
    assert outcome(step, " ".join(words[:30])) == ("overlap with quiz", "30 words in a row of item 2")
    assert outcome(step, " ".join(words[:15])) == ("overlap with quiz", "15 words in a row of item 1")


def longest_common_run(left: Sequence[str], right: Sequence[str]) -> int:
    return difflib.SequenceMatcher(None, left, right, autojunk=False).find_longest_match().size


TEXTS = st.lists(st.sampled_from("abcd"), max_size=60).map(" ".join)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.lists(TEXTS, min_size=1, max_size=2), min_size=1, max_size=4),
    document=TEXTS,
    ngram=st.integers(1, 3),
)
def test_the_longest_run_of_repetitive_texts_is_that_of_difflib(
    write: Write, items: list[list[str]], document: str, ngram: int
) -> None:
    check_longest_run(write, items, document, ngram)


@pytest.mark.parametrize("seed", range(60))
def test_the_longest_run_of_a_patchwork_is_that_of_difflib(write: Write, seed: int) -> None:
    source = random.Random(seed)
    items = [[" ".join(source.choices("abcdefgh", k=source.randint(1, 120)))] for _ in range(source.randint(1, 6))]
    patches = []
    for _ in range(source.randint(1, 10)):
        words = source.choice(items)[0].split()
        start = source.randrange(len(words))
        patches += [*words[start : start + source.randint(1, 40)], *source.choices("abcdxyz", k=source.randint(0, 9))]
    check_longest_run(write, items, " ".join(patches), source.choice([5, 8, 13]))


def check_longest_run(write: Write, items: list[list[str]], document: str, ngram: int) -> None:
    step = Decontaminate([write(*items)], ngram=ngram, min_words=ngram, max_items=100)
    runs = [max(longest_common_run(text.split(), document.split()) for text in item) for item in items]
    item = runs.index(max(runs))
    assert outcome(step, document) == (
        ("overlap with quiz", f"{runs[item]} words in a row of item {item + 1}") if runs[item] >= ngram else None
    )


@given(text=st.text(st.characters(max_codepoint=127, exclude_characters="&")))
def test_words_of_ascii_text_are_those_of_the_expression(text: str) -> None:
    assert split_words(text) == re.findall(r"[^\W_]+", text.lower())
    assert split_words(text + "\u0130") == [*re.findall(r"[^\W_]+", f"{text}i".lower())]


ACCENTED = "Le café naïve où l'élève étudiait la Straße était fermé à l'été, d'après le préfet de la région 12."
SPELLINGS: dict[str, Callable[[str], str]] = {
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "capitals": str.upper,
    "full width": lambda text: "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text),
    "entities": lambda text: text.encode("ascii", "xmlcharrefreplace").decode(),
    "named entities": lambda text: "".join(f"&{codepoint2name.get(ord(c), '')};" if ord(c) > 127 else c for c in text),
    "entities of entities": lambda text: html.escape(text.replace("'", "&#39;")),
    "underscores": lambda text: text.replace(" ", "_"),
    "soft hyphens": lambda text: text.replace("tu", "t\u00adu").replace("gi", "g\u00adi"),
    "no-break spaces": lambda text: text.replace(" ", "&nbsp;"),
}


@pytest.mark.parametrize("spell", SPELLINGS.values(), ids=SPELLINGS)
@pytest.mark.parametrize("turned", [False, True], ids=["in the document", "in the benchmark"])
def test_another_spelling_is_found(write: Write, spell: Callable[[str], str], turned: bool) -> None:
    item, planted = (spell(ACCENTED), ACCENTED) if turned else (ACCENTED, spell(ACCENTED))
    step = Decontaminate([write({"q": item})])
    assert outcome(step, in_the_middle_of(planted)) == ("overlap with quiz", "22 words in a row of item 1")


@pytest.mark.parametrize("digits", [4_300, 4_301, 200_000])
def test_a_number_of_thousands_of_digits_is_no_characters_entity(digits: int) -> None:
    assert split_words(f"a&#{'1' * digits};b&#99;") == ["a", "bc"]


WITHOUT_SPACES = {
    "Chinese": "小明昨天早上去市场买了三斤苹果和两斤香蕉一共花了多少钱",
    "Japanese": "東京駅から京都駅まで新幹線で行くと何時間かかりますか",
    "Thai": "ถ้าเด็กห้าคนแบ่งกล้วยยี่สิบผลเท่าๆกันแต่ละคนจะได้กล้วยกี่ผล",
    "Khmer": "តើក្មេងប្រាំនាក់ចែកចេកម្ភៃផ្លែស្មើគ្នាតើម្នាក់បានប៉ុន្មានផ្លែដែរអ្នក",
    "Lao": "ຖ້າເດັກຫ້າຄົນແບ່ງກ້ວຍຊາວໜ່ວຍເທົ່າໆກັນແຕ່ລະຄົນຈະໄດ້ກ້ວຍຈັກໜ່ວຍ",
    "Burmese": "ကလေးငါးယောက်ကငှက်ပျောသီးနှစ်ဆယ်ကိုအညီအမျှခွဲလျှင်တစ်ယောက်ဘယ်နှစ်လုံးရမလဲပြောပြပါ",
}


@pytest.mark.parametrize("item", WITHOUT_SPACES.values(), ids=WITHOUT_SPACES)
def test_languages_without_spaces_are_searched_by_characters(write: Write, item: str) -> None:
    letters = sum(map(str.isalnum, unicodedata.normalize("NFKC", item)))
    step = Decontaminate([write({"q": item})])
    for planted in (item, f"{item[:9]}\n {item[9:]}", f"{item[:12]}。{item[12:]}"):
        found = outcome(step, f"{ORDINARY[3]} 一{planted}一 {ORDINARY[4]}")
        assert found == ("overlap with quiz", f"{letters} characters in a row of item 1")
    assert outcome(step, f"{item[: len(item) // 2]}一{item[len(item) // 2 :]}") is None


def test_characters_and_words_count_together(write: Write) -> None:
    han = "".join(map(chr, range(0x4E00, 0x4E3C)))
    step = Decontaminate([write({"q": f"one two three {han} four"})])
    assert outcome(step, f"three {han[:24]}") == ("overlap with quiz", "1 words and 24 characters in a row of item 1")
    assert outcome(step, f"three {han[:23]}") is None
    assert outcome(step, han[10:36]) == ("overlap with quiz", "26 characters in a row of item 1")
    assert outcome(step, han[10:35]) is None


QUARTERS = {"a": 4, "b": 4, "一": 2, "二": 2, "ก": 1, "ข": 1}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    items=st.lists(st.lists(st.sampled_from(sorted(QUARTERS)), min_size=1, max_size=30), min_size=1, max_size=3),
    document=st.lists(st.sampled_from(sorted(QUARTERS)), max_size=50),
    ngram=st.integers(1, 3),
)
def test_the_run_that_counts_most_is_that_of_a_plain_search(
    write: Write, items: list[list[str]], document: list[str], ngram: int
) -> None:
    step = Decontaminate([write(*({"q": " ".join(item)} for item in items))], ngram=ngram, max_items=100)

    def largest(item: list[str]) -> int:
        runs = ((item[begin:end], end - begin) for end in range(len(item) + 1) for begin in range(end + 1 - ngram))
        common = (run for run, size in runs if any(document[at : at + size] == run for at in range(len(document))))
        return max((size for run in common if (size := sum(map(QUARTERS.__getitem__, run))) >= 4 * ngram), default=0)

    every = [largest(item) for item in items]
    found = step(Document(" ".join(document), 1))
    if isinstance(found, Removal):
        number = int(found.detail.rsplit(" ", 1)[1])
        assert every[number - 1] == max(every) > 0
    else:
        assert max(every) == 0


def test_the_step_is_small_when_pickled_and_its_options_follow_the_files(write: Write) -> None:
    file = write({"question": QUESTION})
    step = Decontaminate([file])
    assert outcome(step, QUESTION)
    pickled = pickle.dumps(step)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert outcome(again, QUESTION) == outcome(step, QUESTION)
    assert again.options == step.options == Decontaminate([str(file)], ngram=13).options
    assert orjson.loads(orjson.dumps(step.options)) == step.options
    write({"question": QUESTION + " "})
    assert Decontaminate([file]).options != step.options != Decontaminate([file], ngram=12).options


def test_the_report_counts_by_benchmark(quiz: Decontaminate, write: Write) -> None:
    other = write({"q": QUESTION[:60]}, {"q": "too short"}, name="other.jsonl")
    step = Decontaminate([write({"q": QUESTION}, {"q": ANSWER}, {"q": SHORT}, name="first.jsonl"), other])
    texts = [QUESTION, QUESTION.upper(), SHORT, ORDINARY[0]]
    removals = [result for text in texts if isinstance(result := step(Document(text, 1)), Removal)]
    assert benchmark_hits(step, [*removals, Removal("gopher", "too few words", "3")]) == [
        BenchmarkHits("first", 3, 3, items_hit=2, documents_removed=3, longest_match=len(QUESTION.split())),
        BenchmarkHits("other", 2, 1, items_hit=0, documents_removed=0, longest_match=0),
    ]


def test_it_says_how_many_items_of_each_benchmark_are_searched_and_why_others_are_not(write: Write) -> None:
    phrase = "Read the passage below with care and choose the one statement that the author would agree with"
    chinese = write({"q": "中国的首都是哪里"}, {"q": WITHOUT_SPACES["Chinese"]}, name="chinese.jsonl")
    shared = write({"q": QUESTION}, *({"q": phrase, "n": str(n)} for n in range(11)), name="mix.jsonl")
    step = Decontaminate([chinese, shared], max_items=10)
    assert step.coverage() == [
        "decontaminate: 1 of 2 items of chinese are searched, 1 cannot be: shorter than 8 words",
        "decontaminate: 1 of 12 items of mix are searched, 11 cannot be: made of phrases that more than 10 items share",
    ]
    rows = step.benchmark_hits([])
    assert [(row["items"], row["items_searched"]) for row in rows] == [(2, 1), (12, 1)]
    assert [(row["items_too_short"], row["items_too_common"]) for row in rows] == [(1, 0), (0, 11)]


def test_folders_are_walked_and_equal_names_told_apart(tmp_path: Path, write: Write) -> None:
    for folder in ("mmlu", "arc"):
        write({"q": QUESTION}, name=f"{folder}/test.jsonl")
    (tmp_path / "mmlu" / "results.json").write_text("{}")
    assert [file.name for file in find_benchmarks([tmp_path])] == ["arc/test", "mmlu/test"]
    (tmp_path / "mmlu" / "test.txt").write_text(QUESTION)
    with pytest.raises(UserError, match=r"test\.jsonl and .*test\.txt are both called mmlu/test; leave one out"):
        find_benchmarks([tmp_path])


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"q": "x"}\n{"q": \n', r"a\.jsonl:2: invalid JSON \(.*\); correct or remove the line"),
        ("a.jsonl", b'{"q": "\xff"}\n', r"a\.jsonl:1: invalid JSON"),
        ("a.jsonl", b"\n\n", r"a\.jsonl: holds no item; leave it out"),
        ("a.txt", b"one\n\ntwo\nth\xffree", r"a\.txt:4: invalid UTF-8; convert"),
        ("a.json", b"{}", r"a\.json: unknown format; use \.jsonl or \.txt"),
        (None, b"", r"none\.jsonl: no such file or folder"),
    ],
)
def test_a_bad_file_is_named(tmp_path: Path, name: str | None, content: bytes, message: str) -> None:
    path = tmp_path / (name or "none.jsonl")
    if name:
        path.write_bytes(content)
    with pytest.raises(UserError, match=message):
        Decontaminate([path])


@pytest.mark.parametrize(
    ("name", "pack"),
    [("a.ndjson", bytes), ("a.jsonl.gz", gzip.compress), ("a.jsonl.xz", lzma.compress), ("a.jsonl.bz2", bz2.compress)],
)
def test_numbers_that_are_none_and_the_suffixes_of_the_input_are_read(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    line = harness_line(0, [["p"]], exact_match=float("nan"), resps=[[[float("-inf"), False]]])
    lone = b'{"question": "%s \\ud800"}\n' % SHORT.encode()
    (tmp_path / name).write_bytes(pack(json.dumps(line).encode() + b"\n" + lone))
    step = Decontaminate([tmp_path])
    assert step.benchmarks == ["a"]
    assert outcome(step, in_the_middle_of(QUESTION)) is not None
    assert outcome(step, in_the_middle_of(SHORT)) is not None


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (
            "a.jsonl.gz",
            gzip.compress(b'{"q": "x"}\n' * 999, mtime=0)[:-20],
            r"a\.jsonl\.gz: cut short: what follows line \d+ is",
        ),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\n", r"a\.jsonl: it is a git-lfs pointer"),
        ("a.txt", b"version https://git-lfs.github.com/spec/v1\n", r"a\.txt: it is a git-lfs pointer"),
        ("a.txt", b"<html><body>no", r"a\.txt: it is a web page \(HTML\)"),
        ("a.jsonl.zst", b"", r"a\.jsonl\.zst: it is empty \(0 bytes\)"),
    ],
)
def test_a_benchmark_that_cannot_be_read_whole_is_refused(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        Decontaminate([tmp_path / name])


def test_what_is_passed_over_in_a_folder_of_benchmarks_is_named(
    tmp_path: Path, write: Write, capsys: pytest.CaptureFixture[str]
) -> None:
    write({"q": QUESTION}, name="b/quiz.jsonl")
    write({"q": ANSWER}, name="b/lines.json")
    for name in ("b/results.json", "b/data.parquet", "b/README.md"):
        (tmp_path / name).write_text('{\n "a": 1}')
    (tmp_path / "c").symlink_to("b")
    (tmp_path / "b" / "up").symlink_to("..")
    assert [file.name for file in find_benchmarks([tmp_path])] == ["lines", "quiz"]
    said = capsys.readouterr().err
    assert said.startswith("data.steps.decontaminate.files: passed over, for it is no benchmark:\n")
    assert all(f"  {suffix}: 1 file, 10 bytes, {tmp_path}/b/" in said for suffix in (".parquet", ".md"))
    assert f"  {tmp_path}/b/results.json: .json, a JSON object over several lines, 10 bytes; to read it: jq" in said
    for name, says in (("results.json", "a JSON object over several lines; jq -c . "), ("data.parquet", "")):
        with pytest.raises(UserError, match=rf"{name}: unknown format; use \.jsonl or \.txt.*{re.escape(says)}"):
            find_benchmarks([tmp_path / "b" / name])
    (tmp_path / "b" / "x.jsonl").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"decontaminate\.files: .*x\.jsonl: it is a link to nothing; put that right"):
        find_benchmarks([tmp_path])


def test_bad_options_and_changed_files_are_named(tmp_path: Path, write: Write) -> None:
    file = write({"q": QUESTION})
    with pytest.raises(UserError, match=r"^data\.steps\.decontaminate\.ngram=0: must be int from 1$"):
        build_steps({"decontaminate": {"files": [str(file)], "ngram": 0}})
    with pytest.raises(UserError, match=r"files=\[\]: no \.jsonl or \.txt file; name one"):
        Decontaminate([])
    step = Decontaminate([file], ngram=11)
    write({"q": ANSWER})
    with pytest.raises(UserError, match="changed since the command began"):
        step(Document(ORDINARY[0], 1))
    (found,) = find_benchmarks([file])
    file.unlink()
    with pytest.raises(UserError, match="put the file back"):
        read_benchmark(found)
