"""`danube compare`: figures against plain reimplementations, verdicts against what is known, refusals in one line."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from custom_modules.cli import main
from custom_modules.config.load import load_config
from custom_modules.errors import UserError
from custom_modules.evaluation.compare import Comparison, TaskComparison, compare
from custom_modules.evaluation.results import RESULTS, SAMPLES
from custom_modules.run_folder.metadata import write_metadata
from tests.support.evaluations import Asked, make_evaluation, right_bytes

Say = pytest.CaptureFixture[str]
ITEMS = 400


def rights(seed: int, share: float, count: int = ITEMS) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).random(count) < share]


def flipped(values: Sequence[float], won: int, lost: int) -> list[float]:
    """As before, but that many wrong ones are right now, and the other way round."""
    changed = list(values)
    for before, count in ((0.0, won), (1.0, lost)):
        for place in [place for place, value in enumerate(values) if value == before][:count]:
            changed[place] = 1 - before
    return changed


def pair(folder: Path, *tasks: tuple[str, Sequence[float], Sequence[float]], **more: Any) -> tuple[Path, Path]:
    """Two evaluations: by task the values of the first and of the second."""
    first = [Asked(name, {name: values}) for name, values, _ in tasks]
    second = [Asked(name, {name: values}) for name, _, values in tasks]
    return make_evaluation(folder / "a", *first, **more), make_evaluation(folder / "b", *second, **more)


def only(comparison: Comparison) -> TaskComparison:
    [task] = comparison.tasks
    return task


def test_paired_figures_are_those_of_plain_python(tmp_path: Path) -> None:
    before, after = rights(1, 0.5), rights(2, 0.6)
    task = only(compare(*pair(tmp_path, ("piqa", before, after))))
    differences = [new - old for old, new in zip(before, after, strict=True)]
    mean = sum(differences) / ITEMS
    spread = sum((one - mean) ** 2 for one in differences) / (ITEMS - 1)
    assert task.accuracy.value == pytest.approx(mean)
    assert task.accuracy.standard_error == pytest.approx(math.sqrt(spread / ITEMS))
    assert (task.won, task.lost) == (differences.count(1.0), differences.count(-1.0))
    shares = sum(before) / ITEMS, sum(after) / ITEMS
    unpaired = math.sqrt(sum(share * (1 - share) / (ITEMS - 1) for share in shares))
    assert task.unpaired_standard_error == pytest.approx(unpaired)
    tail = sum(math.comb(task.won + task.lost, k) for k in range(min(task.won, task.lost) + 1))
    assert task.mcnemar == task.accuracy.p == pytest.approx(2 * tail / 2 ** (task.won + task.lost))
    low, high = task.interval
    assert low < mean < high
    assert high - low == pytest.approx(2 * 1.96 * task.accuracy.standard_error, rel=0.1)


def test_pairing_pays_where_two_models_mostly_agree(tmp_path: Path) -> None:
    before = rights(3, 0.6)
    task = only(compare(*pair(tmp_path, ("piqa", before, flipped(before, won=14, lost=6)))))
    assert task.unpaired_standard_error > 2 * task.accuracy.standard_error


@pytest.mark.parametrize(("won", "lost", "word"), [(40, 10, "better"), (10, 40, "worse")])
def test_better_and_worse(won: int, lost: int, word: str, tmp_path: Path, capsys: Say) -> None:
    before = rights(4, 0.5)
    first, second = pair(tmp_path, ("piqa", before, flipped(before, won, lost)))
    assert main(["compare", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert f"piqa: B is {word}\n" in out
    assert re.search(
        rf"piqa +0 +acc +400 .* {re.escape(f'{(won - lost) / 4:+.2f}')} .* {won} +{lost} +<0.001 +<0.001", out
    )


def test_what_cannot_be_told_apart_says_from_where_on_it_could_be(tmp_path: Path, capsys: Say) -> None:
    """With as many items that differ, a surplus one step above what is said is told apart, and one at it is not."""
    before = rights(5, 0.5)
    first, second = pair(tmp_path, ("piqa", before, flipped(before, 24, 16)))
    assert main(["compare", str(first), str(second)]) == 0
    found = re.search(
        r"^piqa: not to be told apart: at this size only differences above ([\d.]+) would be$",
        capsys.readouterr().out,
        re.M,
    )
    assert found
    threshold = float(found[1]) / 100 * ITEMS
    surplus = next(surplus for surplus in range(0, 41, 2) if surplus > threshold)
    for more, is_told_apart in ((surplus, True), (surplus - 2, False)):
        folder = tmp_path / str(more)
        task = only(compare(*pair(folder, ("piqa", before, flipped(before, 20 + more // 2, 20 - more // 2)))))
        assert task.accuracy.is_told_apart is is_told_apart


def test_holm_holds_back_what_one_of_many_tasks_shows(tmp_path: Path) -> None:
    """A surplus that is told apart alone is not among eight tasks, unless the others are told apart, too."""
    before = rights(6, 0.5)
    weak, strong, none = flipped(before, 30, 13), flipped(before, 90, 10), before
    assert only(compare(*pair(tmp_path / "alone", ("t0", before, weak)))).accuracy.is_told_apart
    quiet = compare(*pair(tmp_path / "quiet", ("t0", before, weak), *((f"t{k}", before, none) for k in range(1, 8))))
    assert not quiet.tasks[0].accuracy.is_told_apart
    assert quiet.tasks[0].accuracy.corrected_p == pytest.approx(8 * quiet.tasks[0].accuracy.p)
    loud = compare(*pair(tmp_path / "loud", ("t0", before, weak), *((f"t{k}", before, strong) for k in range(1, 8))))
    assert all(task.accuracy.is_told_apart for task in loud.tasks)


def test_models_that_answer_alike_have_nothing_to_be_told_apart_by(tmp_path: Path, capsys: Say) -> None:
    """How many items it would have taken is known of the items, and not of the suite's mean."""
    values = rights(6, 0.5)
    first, second = pair(tmp_path, ("t0", values, values), ("t1", values, values))
    assert main(["compare", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert f"t0: not to be told apart: at this size only differences above {100 * 6 / ITEMS:.2f} would be" in out
    assert "mean of 2: not to be told apart: no item differs" in out


def test_the_mean_over_the_suite(tmp_path: Path, capsys: Say) -> None:
    before = rights(7, 0.5)
    tasks = [("t0", before, flipped(before, 30, 10)), ("t1", before, flipped(before, 12, 20)), ("t2", before, before)]
    first, second = pair(tmp_path, *tasks)
    assert main(["compare", str(first), str(second)]) == 0
    assert "mean of 3: not to be told apart" in capsys.readouterr().out
    comparison = compare(first, second)
    assert comparison.mean.value == pytest.approx((20 / ITEMS - 8 / ITEMS) / 3)
    errors = [task.accuracy.standard_error for task in comparison.tasks]
    assert comparison.mean.standard_error == pytest.approx(math.sqrt(sum(error**2 for error in errors)) / 3)
    low, high = comparison.mean_interval
    assert (low + high) / 2 == pytest.approx(comparison.mean.value, abs=0.2 * comparison.mean.standard_error)
    assert high - low == pytest.approx(2 * 1.96 * comparison.mean.standard_error, rel=0.1)


@pytest.mark.parametrize(("protocol", "is_plain"), [("paper", True), ("current", False)])
def test_subjects_count_alike_under_the_papers_protocol(protocol: str, is_plain: bool, tmp_path: Path) -> None:
    """A small subject won and a large one lost: the signs of both means differ, and so do the verdicts' tests."""
    small, large = [0.0] * 40, rights(8, 0.6, 1_000)
    first = Asked("mmlu", {"mmlu_small": small, "mmlu_large": large})
    second = Asked("mmlu", {"mmlu_small": flipped(small, 10, 0), "mmlu_large": flipped(large, 5, 60)})
    before = make_evaluation(tmp_path / "a", first, protocol=protocol)
    task = only(compare(before, make_evaluation(tmp_path / "b", second, protocol=protocol)))
    assert task.accuracy.value == pytest.approx((10 / 40 - 55 / 1_000) / 2 if is_plain else (10 - 55) / 1_040)
    parts = [np.std([1.0] * 10 + [0.0] * 30, ddof=1), np.std([1.0] * 5 + [-1.0] * 60 + [0.0] * 935, ddof=1)]
    weights = (0.5, 0.5) if is_plain else (40 / 1_040, 1_000 / 1_040)
    errors = [weight * part / math.sqrt(n) for weight, part, n in zip(weights, parts, (40, 1_000), strict=True)]
    assert task.accuracy.standard_error == pytest.approx(math.hypot(*errors))
    assert (task.won, task.lost) == (15, 60)
    assert task.accuracy.is_told_apart and (task.accuracy.value > 0) is is_plain
    assert (task.accuracy.p == task.mcnemar) is not is_plain


def test_values_that_are_not_right_or_wrong_have_no_mcnemar(tmp_path: Path, capsys: Say) -> None:
    before = [float(value) for value in np.random.default_rng(9).random(200)]
    after = [min(1.0, value + 0.02) for value in before]
    first, second = pair(tmp_path, ("truthfulqa_mc2", before, after))
    task = only(compare(first, second))
    assert task.mcnemar is None and task.accuracy.is_told_apart
    assert main(["compare", str(first), str(second)]) == 0
    assert "truthfulqa_mc2: B is better" in capsys.readouterr().out


def test_bits_per_byte_tell_apart_what_accuracy_does_not(tmp_path: Path, capsys: Say) -> None:
    """The same answers, each a little likelier: no item is won, and every right answer takes fewer bits."""
    generator = np.random.default_rng(10)
    values, lengths = rights(10, 0.5, 100), [right_bytes(number) for number in range(100)]
    before = [length * bits for length, bits in zip(lengths, generator.uniform(1, 2, 100), strict=True)]
    after = [
        bits - length * drop
        for bits, length, drop in zip(before, lengths, generator.normal(0.05, 0.05, 100), strict=True)
    ]
    first = make_evaluation(tmp_path / "a", Asked("arc_easy", {"arc_easy": values}, bits=before))
    second = make_evaluation(tmp_path / "b", Asked("arc_easy", {"arc_easy": values}, bits=after))
    task = only(compare(first, second))
    assert not task.accuracy.is_told_apart and (task.won, task.lost, task.mcnemar) == (0, 0, 1.0)
    found = task.bits_per_byte
    assert found is not None and found.is_told_apart
    assert found.first == pytest.approx(sum(before) / sum(lengths))
    assert found.value == pytest.approx((sum(after) - sum(before)) / sum(lengths))
    drops = np.array(after) - np.array(before)
    jackknife = (drops.sum() - drops) / (sum(lengths) - np.array(lengths))
    assert found.standard_error == pytest.approx(
        math.sqrt(99 / 100 * ((jackknife - jackknife.mean()) ** 2).sum()), rel=0.02
    )
    assert main(["compare", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert "arc_easy: not to be told apart" in out.split("Bits per byte")[0]
    assert "arc_easy: B is better" in out.split("Bits per byte")[1]


def test_items_without_a_right_answer_have_no_bits(tmp_path: Path, capsys: Say) -> None:
    first, second = pair(tmp_path, ("gsm8k", rights(11, 0.2), rights(12, 0.3)))
    assert only(compare(first, second)).bits_per_byte is None
    assert main(["compare", str(first), str(second)]) == 0
    assert "Bits per byte" not in capsys.readouterr().out


def test_another_seeds_run_is_said_not_to_be_in_it(tmp_path: Path, capsys: Say) -> None:
    first, second = pair(tmp_path, ("piqa", rights(1, 0.5), rights(2, 0.5)))
    assert main(["compare", str(first), str(second)]) == 0
    out = capsys.readouterr().out
    assert "Not in it: another seed's run." in out and "--noise" in out


def test_checkpoints_of_one_run_are_the_floor(tmp_path: Path, capsys: Say) -> None:
    """What is told apart, but not by more than late checkpoints differ, says so; also of a checkpoint's own folder."""
    before = rights(13, 0.5)
    first, second = pair(tmp_path, ("piqa", before, flipped(before, 30, 10)), suite="mine")
    run = tmp_path / "run"
    for tokens, won in ((1_000, 0), (2_000, 24), (3_000, 10)):
        name = f"tokens_{tokens:018d}"
        asked = Asked("piqa", {"piqa": flipped(before, won, 0)})
        make_evaluation(
            run / "evaluation" / name / "mine",
            asked,
            suite="mine",
            kind="run",
            consumed_tokens=tokens,
            weights=f"{tokens:064x}",
        )
        (run / "checkpoints" / name).mkdir(parents=True)
        write_metadata(run / "checkpoints" / name, load_config("danube_rehearsal"), "", {})
    checkpoints = sorted((run / "checkpoints").iterdir())
    folders = sorted((run / "evaluation").glob("*/mine"))
    comparison = compare(first, second, checkpoints)
    assert only(comparison).accuracy.floor == pytest.approx(24 / ITEMS)
    assert compare(first, second, folders).to_json() == comparison.to_json()
    file = tmp_path / "figures.json"
    words = ["compare", str(first), str(second), "--json", str(file), "--noise", *map(str, checkpoints)]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "piqa: B is better, by no more than checkpoints of one run differ (6.00)" in out
    assert "Floor: highest less lowest of 3 checkpoints of one run:" in out and "at 2,000 tokens" in out
    plain = json.loads(file.read_text())
    assert plain["tasks"][0]["accuracy"]["floor"] == pytest.approx(24 / ITEMS)
    assert [one["consumed_tokens"] for one in plain["noise"]] == [1_000, 2_000, 3_000]


def test_a_single_item_is_compared_without_an_error(tmp_path: Path, capsys: Say) -> None:
    first, second = pair(tmp_path, ("piqa", [0.0], [1.0]))
    assert main(["compare", str(first), str(second), "--json", str(tmp_path / "one.json")]) == 0
    out = capsys.readouterr().out
    assert "nan" not in out and "piqa: not to be told apart: at this size no difference would be" in out
    text = (tmp_path / "one.json").read_text()
    assert json.loads(text, parse_constant=pytest.fail)["tasks"][0]["accuracy"]["standard_error"] is None


def test_the_same_twice(tmp_path: Path) -> None:
    first, second = pair(tmp_path, ("piqa", rights(1, 0.5), rights(2, 0.6)))
    assert compare(first, second).to_json() == compare(first, second).to_json()


def refused(words: Sequence[object], capsys: Say) -> str:
    assert main(["compare", *map(str, words)]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"suite": "other"}, "suite other, not mine"),
        ({"protocol": "current"}, "protocol current, not paper"),
    ],
)
def test_another_suite_or_protocol_is_refused(change: dict[str, str], said: str, tmp_path: Path, capsys: Say) -> None:
    asked = Asked("piqa", {"piqa": rights(1, 0.5)})
    first, second = make_evaluation(tmp_path / "a", asked), make_evaluation(tmp_path / "b", asked, **change)
    assert said in refused([first, second], capsys)


def test_other_prompts_sizes_and_tasks_are_refused(tmp_path: Path, capsys: Say) -> None:
    values = rights(1, 0.5)
    first = make_evaluation(tmp_path / "a", Asked("piqa", {"piqa": values}))
    others = {
        "salted": (Asked("piqa", {"piqa": values}, salt="x"), "another prompt for piqa document 0"),
        "fewer": (Asked("piqa", {"piqa": values[:-1]}), "399 items of piqa, not 400"),
        "shots": (Asked("piqa", {"piqa": values}, 5), "piqa 5-shot acc, not piqa 0-shot acc"),
        "task": (Asked("boolq", {"boolq": values}), "boolq 0-shot acc, not piqa 0-shot acc"),
        "leaf": (Asked("piqa", {"piqa_a": values}), "piqa_a document 0 in the place of piqa document 0"),
    }
    for name, (asked, said) in others.items():
        second = make_evaluation(tmp_path / name, asked)
        message = refused([first, second], capsys)
        assert str(second) in message and said in message
    again = make_evaluation(tmp_path / "again", Asked("piqa", {"piqa": values}), weights="f" * 64)
    noise = [again, tmp_path / "salted"]
    other = make_evaluation(tmp_path / "other", Asked("piqa", {"piqa": values}))
    assert "other prompts for piqa" in refused([first, other, "--noise", *noise], capsys)
    assert "the weights of exports/danube again" in refused([first, again, "--noise", first, other], capsys)


def test_the_same_folder_twice_is_refused(tmp_path: Path, capsys: Say) -> None:
    first, second = pair(tmp_path, ("piqa", rights(1, 0.5), rights(2, 0.5)))
    link = tmp_path / "link"
    link.symlink_to(first)
    for again in (first, tmp_path / "b" / ".." / "a", link):
        assert "the same evaluation as" in refused([first, again], capsys)
    assert "the same evaluation as" in refused([first, second, "--noise", first, link], capsys)
    assert "one checkpoint has no spread" in refused([first, second, "--noise", first], capsys)


def test_what_is_no_finished_evaluation_is_refused(tmp_path: Path, capsys: Say) -> None:
    first, second = pair(tmp_path, ("piqa", rights(1, 0.5), rights(2, 0.5)))
    assert RESULTS in refused([first, tmp_path / "nowhere"], capsys)
    lines = (second / SAMPLES).read_text().splitlines(keepends=True)
    (second / SAMPLES).write_text("".join(lines[:-1]))
    assert "399 items of piqa, but results.json has 400" in refused([first, second], capsys)
    (second / SAMPLES).write_text("".join([*lines[:6], '{"task": "piqa"\n', *lines[7:]]))
    assert f"{SAMPLES}:7" in refused([first, second], capsys)
    (second / RESULTS).write_text("{}")
    assert str(second / RESULTS) in refused([first, second], capsys)
    with pytest.raises(UserError, match="no finished evaluation"):
        compare(tmp_path / "nowhere", first)
